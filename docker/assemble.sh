#!/bin/sh
# Lays out under ROOT what an image takes from its build stage, as one layer: the agent with its Node.js, tini, and the
# script that fetches ahead of time. Everything else (npm, the packages, the sources) stays behind.
# usage: docker/assemble.sh ROOT      (in the build stage: packages installed, binutils and tini there)
set -eu
root=$1
agent=$root/opt/muster
install -d "$agent/bin" "$agent/docs" "$root/usr/bin" "$root/usr/lib" "$root/usr/local/bin"

node scripts/build.ts
cp -R dist "$agent/dist"
cp package.json worker-types.json LICENSE "$agent/"
cp docs/worker-types.schema.json "$agent/docs/"

# A quarter of Node.js is symbols for debuggers.
strip --strip-unneeded -o "$agent/bin/node" "$(command -v node)"
chmod 755 "$agent/bin/node"
# Of all that it is linked with this is what bases may lack.
cp -L /usr/lib/*-linux-gnu/libatomic.so.1 "$root/usr/lib/"

# Started by the kernel itself: neither a shell nor env nor PATH has a part in it.
sed -i '1s|.*|#!/opt/muster/bin/node|' "$agent/dist/muster.js"
chmod 755 "$agent/dist/muster.js"
ln -s ../../../opt/muster/dist/muster.js "$root/usr/local/bin/muster"
install -m 755 docker/download-models.sh "$root/usr/local/bin/download-models.sh"
install -m 755 /usr/bin/tini-static "$root/usr/bin/tini"

npm sbom --sbom-format=cyclonedx --package-lock-only |
  node docker/bill-of-materials.ts \
    "nodejs@$(node --version)" \
    "tini@$(dpkg-query --show --showformat='${Version}' tini)" \
    "libatomic1@$(dpkg-query --show --showformat='${Version}' libatomic1)" > "$agent/sbom.cdx.json"

# The same sources give the same bytes.
find "$root" -exec touch --no-dereference --date="@${SOURCE_DATE_EPOCH:-0}" {} +
