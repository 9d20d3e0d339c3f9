import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Workplace } from "../workplace.ts";

/** An authority made for this run, and what it has signed for 127.0.0.1. */
export interface Certificates {
  /** PEM files. */
  authority: string;
  certificate: string;
  key: string;
}

/** Makes them with openssl, in the bench's folder. */
export async function makeCertificates(place: Workplace): Promise<Certificates> {
  const at = (name: string) => join(place.folder, name);
  const openssl = (...args: string[]) => place.run(["openssl", ...args]);
  const newKey = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
  const authority = ["-x509", "-days", "2", "-subj", "/CN=muster bench authority", "-out", at("authority.pem")];
  await openssl("req", ...newKey, "-keyout", at("authority.key"), ...authority);
  await openssl("req", ...newKey, "-keyout", at("server.key"), "-subj", "/CN=127.0.0.1", "-out", at("server.csr"));
  await writeFile(
    at("server.ext"),
    "subjectAltName=IP:127.0.0.1\nbasicConstraints=CA:FALSE\nkeyUsage=digitalSignature\nextendedKeyUsage=serverAuth\n",
  );
  const signer = ["-CA", at("authority.pem"), "-CAkey", at("authority.key"), "-CAcreateserial"];
  const signed = ["-extfile", at("server.ext"), "-days", "2", "-out", at("server.pem")];
  await openssl("x509", "-req", "-in", at("server.csr"), ...signer, ...signed);
  return { authority: at("authority.pem"), certificate: at("server.pem"), key: at("server.key") };
}
