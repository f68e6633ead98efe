import { expect, test } from "bun:test";
import dockerfile from "../../examples/nodejs-rest-api/Dockerfile" with { type: "text" };
import v1 from "../../examples/nodejs-rest-api/nodejs-rest-api-v1.json";
import v2 from "../../examples/nodejs-rest-api/nodejs-rest-api-v2.json";
import { NODE_IMAGE, appImage, parseLdd } from "./images.ts";

test("parseLdd() lists libraries and the loader, each once", () => {
  const text = [
    "\tlinux-vdso.so.1 (0x00007ffc)",
    "\tlibm.so.6 => /lib/x86_64-linux-gnu/libm.so.6 (0x00007f)",
    "\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f)",
    "\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f)",
    "\tgone.so => not found",
    "\t/lib64/ld-linux-x86-64.so.2 (0x00007f)",
  ].join("\n");
  expect(parseLdd(text)).toEqual([
    "/lib/x86_64-linux-gnu/libc.so.6",
    "/lib/x86_64-linux-gnu/libm.so.6",
    "/lib64/ld-linux-x86-64.so.2",
  ]);
  expect(parseLdd("\tnot a dynamic executable\n")).toEqual([]);
});

test("the example's definitions name the images that the lab publishes", () => {
  expect(v1.container.docker.image).toBe(appImage("1.0.0"));
  expect(v2.container.docker.image).toBe(appImage("2.0.0"));
  expect(dockerfile).toContain(`ARG BASE=${NODE_IMAGE}`);
});

test("the example's two versions differ only in id, image and tag", () => {
  const strip = ({ id: _id, container, env, ...rest }: typeof v1): unknown => {
    const { image: _image, ...docker } = container.docker;
    return { ...rest, type: container.type, docker, service: env.SERVICE_NAME };
  };
  expect(strip(v1)).toEqual(strip(v2));
});
