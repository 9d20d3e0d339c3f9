import { expect, it } from "vitest";
import { recognizeLicenses } from "../../src/fetch/license-text.ts";

const MIT = `MIT License

Copyright (c) Somebody

Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated
documentation files (the "Software"), to deal in the Software without restriction, including without limitation`;
const BSD = `Redistribution and use in source and binary forms, with or without modification, are permitted`;

it.each([
  [
    "                                 Apache License\n                           Version 2.0, January 2004",
    "apache-2.0",
  ],
  [MIT, "mit"],
  [MIT.replace("MIT License\n", ""), "mit"],
  [`${BSD}\n3. Neither the name of the copyright holder`, "bsd-3-clause"],
  [BSD, "bsd-2-clause"],
  ["**Llama 3.2** **Community License Agreement**\n\nLlama 3.2 Version Release Date: September 25, 2024", "llama3.2"],
  ["META LLAMA 3 COMMUNITY LICENSE AGREEMENT", "llama3"],
  ["LLAMA 2 COMMUNITY LICENSE AGREEMENT", "llama2"],
  ["Gemma Terms of Use\n\nLast modified: February 21, 2024", "gemma"],
  ["Qwen RESEARCH LICENSE AGREEMENT", "qwen-research"],
  ["Qwen LICENSE AGREEMENT", "qwen"],
  ["Tongyi Qianwen LICENSE AGREEMENT", "tongyi-qianwen"],
  ["# Mistral AI Research License\n", "mrl"],
  [
    "                    GNU AFFERO GENERAL PUBLIC LICENSE\n                       Version 3, 19 November 2007",
    "agpl-3.0",
  ],
  ["                    GNU GENERAL PUBLIC LICENSE\n                       Version 2, June 1991", "gpl-2.0"],
  ["GNU LESSER GENERAL PUBLIC LICENSE\n Version 2.1, February 1999", "lgpl-2.1"],
  ["Creative Commons Attribution-NonCommercial 4.0 International Public License", "cc-by-nc-4.0"],
  ["Attribution-NonCommercial-ShareAlike 4.0 International", "cc-by-nc-sa-4.0"],
  ["Creative Commons Attribution 4.0 International", "cc-by-4.0"],
  ["SPDX-License-Identifier: MPL-2.0", "mpl-2.0"],
  ["You may use it on Tuesdays.", null],
  ["", null],
])("%j is %s", (text, id) => {
  expect(recognizeLicenses([text])).toBe(id);
});

it("names all of several, but not rules of conduct, and says where one of them is not known", () => {
  const policy = "**Llama 3.2** **Acceptable Use Policy**\n\nMeta is committed to promoting safe use";
  expect(recognizeLicenses(["LLAMA 3.2 COMMUNITY LICENSE AGREEMENT", policy])).toBe("llama3.2");
  expect(recognizeLicenses([MIT, MIT, "Apache License, Version 2.0"])).toBe("mit AND apache-2.0");
  expect(recognizeLicenses([MIT, "You may use it on Tuesdays."])).toBe("mit AND unknown");
  expect(recognizeLicenses([])).toBeNull();
});
