// A browser's SIP library (SIP.js) calls over WSS, holds, presses a key, hangs up; and is hung up. Arguments: the bridge's WSS address, the
// host's command that removes the caller (JSON). Says what happened as JSON. Its media are made up: this is about signalling.
import { open } from "./browser.mjs";
import { execFile } from "node:child_process";

const [wss, remove] = process.argv.slice(2);
const { page, errors, close } = await open([], {
  removeCaller: () => new Promise((done) => execFile(...JSON.parse(remove), () => done())),
});
const steps = await page.evaluate(async (wss) => {
  const { UserAgent, Inviter, SessionState } = await import("/lib/api/index.js");
  const steps = [];
  const say = (step) => steps.push(step);
  const sdp = (version, direction) =>
    `v=0\r\no=- 1 ${version} IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0 101\r\na=rtpmap:101 telephone-event/8000\r\na=${direction}\r\n`;
  const media = () => {
    let version = 0;
    let direction = "sendrecv";
    return {
      getDescription: async () => ({ body: sdp(++version, direction), contentType: "application/sdp" }),
      hasDescription: (type) => type === "application/sdp",
      setDescription: async (text) => say(/a=(sendrecv|sendonly|recvonly|inactive)/.exec(text)?.[1] ?? "no direction"),
      rollbackDescription: async () => {},
      sendDtmf: () => false,
      close: () => {},
      set direction(wanted) {
        direction = wanted;
      },
    };
  };
  const agent = new UserAgent({
    uri: UserAgent.makeURI("sip:ada@example.com"),
    transportOptions: { server: wss },
    sessionDescriptionHandlerFactory: media,
    logLevel: "error",
  });
  await agent.start();
  say("connected");
  const reaches = (session, state) =>
    new Promise((done, failed) => {
      if (session.state === state) return done();
      setTimeout(() => failed(new Error(`never ${state}: ${session.state}`)), 10000);
      session.stateChange.addListener((now) => now === state && done());
    });
  const call = async () => {
    const session = new Inviter(agent, UserAgent.makeURI("sip:confbrowser@127.0.0.1"));
    await session.invite();
    await reaches(session, SessionState.Established);
    return session;
  };
  const first = await call();
  say("established");
  const asked = (send) =>
    new Promise((done, failed) => {
      const requestDelegate = { onAccept: () => done(), onReject: (r) => failed(new Error(r.message.statusCode)) };
      send(requestDelegate);
    });
  for (const direction of ["sendonly", "sendrecv"]) {
    first.sessionDescriptionHandler.direction = direction;
    await asked((requestDelegate) => first.invite({ requestDelegate }));
  }
  const body = { contentDisposition: "render", contentType: "application/dtmf-relay", content: "Signal=5\r\nDuration=160" };
  await asked((requestDelegate) => first.info({ requestDelegate, requestOptions: { body } }));
  say("key taken");
  await first.bye();
  await reaches(first, SessionState.Terminated);
  say("hung up");
  const second = await call();
  const over = reaches(second, SessionState.Terminated);
  await window.removeCaller();
  await over;
  say("was hung up");
  await agent.stop();
  return steps;
}, wss);
await close();
console.log(JSON.stringify({ steps, errors }));
