// Runs one published client of BinderHub's api and prints what it hands on, one JSON object a line. The packages are found from the
// current directory:  node drive.mjs CLIENT BASE SPEC [OPTIONS]
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const require = createRequire(`${process.cwd()}/`);
const [client, base, spec, options = "{}"] = process.argv.slice(2);
const say = (event) => console.log(JSON.stringify(event));
const ended = (event) => ["ready", "failed"].includes(event.phase);

const clients = {
  async "binderhub-client"() {
    globalThis.window = globalThis; // all that it needs of a browser
    globalThis.document = { addEventListener() {}, removeEventListener() {}, hidden: false, cookie: "_xsrf=a-cookie" };
    process.on("unhandledRejection", () => {}); // it ends its own stream by throwing; a browser writes that to its console
    console.log = ((log) => (...said) => { if (String(said[0]).startsWith("{")) log(...said); })(console.log);
    const { BinderRepository } = await import(pathToFileURL(require.resolve("@jupyterhub/binderhub-client/client.js")));
    const repository = new BinderRepository(spec, new URL("build", base), JSON.parse(options));
    for await (const event of repository.fetch()) {
      say(event);
      if (ended(event)) break;
    }
    repository.close();
  },

  "rx-binder"() { // it knows GitHub only
    const { binder } = require("rx-binder");
    const [, owner, name, ref] = spec.split("/");
    return new Promise((resolve, reject) => {
      binder({ repo: `https://github.com/${owner}/${name}`, ref, binderURL: base }, require("eventsource"))
        .subscribe({ next: say, error: reject, complete: resolve });
    });
  },

  eventsource() { // left open, as by a page that is not made for Binder: it comes back to what has ended, and is sent away
    const EventSource = require("eventsource");
    const source = new EventSource(`${base}build/${spec}`);
    return new Promise((resolve) => {
      source.onmessage = ({ data, lastEventId }) => {
        say({ ...JSON.parse(data), id: lastEventId });
        if (!lastEventId) { say({ pause: source.reconnectInterval }); source.close(); resolve(); } // refused: there is no launch
      };
      source.onerror = ({ status }) => { if (status) { say({ closed: status }); source.close(); resolve(); } };
    });
  },
};

await clients[client]();
