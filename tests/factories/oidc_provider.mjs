// A real OpenID provider on loopback, for the tests of company sign-in: `node oidc_provider.mjs REDIRECT_URI`.
// It listens on a free port and prints it.
import { createServer } from "node:http";
import Provider from "oidc-provider";

const server = createServer();
server.listen(0, "127.0.0.1", () => {
  const { port } = server.address();
  const provider = new Provider(`http://127.0.0.1:${port}`, {
    clients: [
      {
        client_id: "tallyhouse",
        client_secret: "only-for-tests-and-long-enough",
        redirect_uris: [process.argv[2]],
      },
    ],
    cookies: { keys: ["only-for-tests"] },
    pkce: { required: () => true },
    findAccount: (_ctx, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
  });
  server.on("request", provider.callback());
  console.log(`port ${port}`);
});
