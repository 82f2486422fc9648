// A browser calls with sound: SIP.js and WebRTC in Chromium, with a file for a microphone. Arguments: the bridge's WSS address, the conference, the file to
// say (WAV, 48 kHz), the file to write what is heard into (raw 16 bits, 48 kHz), and for how many seconds. Says what happened as JSON.
import { open } from "./browser.mjs";
import { writeFile } from "node:fs/promises";

const [wss, conference, say, write, seconds] = process.argv.slice(2);
const MICROPHONE = ["--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream", `--use-file-for-fake-audio-capture=${say}`, "--autoplay-policy=no-user-gesture-required"];
const { page, errors, close } = await open(MICROPHONE);
const found = await page.evaluate(
  async ([wss, conference, seconds]) => {
    const { UserAgent, Inviter, SessionState } = await import("/lib/api/index.js");
    const { defaultSessionDescriptionHandlerFactory } = await import("/lib/platform/web/index.js");
    const raw = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };
    const agent = new UserAgent({
      uri: UserAgent.makeURI("sip:ada@example.com"),
      transportOptions: { server: wss },
      sessionDescriptionHandlerFactory: defaultSessionDescriptionHandlerFactory(),
      sessionDescriptionHandlerFactoryOptions: { peerConnectionConfiguration: { iceServers: [], bundlePolicy: "max-bundle" }, iceGatheringTimeout: 2000 },
      logLevel: "error",
    });
    await agent.start();
    const session = new Inviter(agent, UserAgent.makeURI(`sip:${conference}@127.0.0.1`), {
      sessionDescriptionHandlerOptions: { constraints: { audio: raw, video: false } },
    });
    await session.invite();
    const established = (state) =>
      new Promise((done, failed) => {
        if (session.state === state) return done();
        setTimeout(() => failed(new Error(`never ${state}: ${session.state}`)), 10000);
        session.stateChange.addListener((now) => now === state && done());
      });
    await established(SessionState.Established);
    const connection = session.sessionDescriptionHandler.peerConnection;
    const began = performance.now();
    await new Promise((done, failed) => {
      const look = () => {
        if (connection.connectionState === "connected") return done();
        if (performance.now() - began > 15000) return failed(new Error(connection.connectionState));
        setTimeout(look, 5);
      };
      look();
    });
    const took = performance.now() - began;
    // What is heard: Chromium decodes remote sound only where something plays it.
    const stream = session.sessionDescriptionHandler.remoteMediaStream;
    const player = new Audio();
    player.srcObject = stream;
    await player.play();
    const context = new AudioContext({ sampleRate: 48000 });
    const code = "registerProcessor('tap', class extends AudioWorkletProcessor { process([input]) { if (input[0]) this.port.postMessage(input[0].slice()); return true; } });";
    await context.audioWorklet.addModule(URL.createObjectURL(new Blob([code], { type: "text/javascript" })));
    const tap = new AudioWorkletNode(context, "tap");
    const heard = [];
    tap.port.onmessage = ({ data }) => heard.push(data);
    context.createMediaStreamSource(stream).connect(tap);
    await new Promise((done) => setTimeout(done, 1000 * seconds));
    let codec, remote, level;
    for (const report of (await connection.getStats()).values()) {
      if (report.type === "remote-inbound-rtp") remote = { lost: report.packetsLost, roundTrip: report.roundTripTime !== undefined };
      if (report.type === "inbound-rtp") codec = report.codecId;
      if (report.type === "transport") level = { dtls: report.dtlsState, version: report.tlsVersion, srtp: report.srtpCipher, ice: report.iceState };
    }
    codec = (await connection.getStats()).get(codec)?.mimeType;
    await session.bye();
    await established(SessionState.Terminated);
    await agent.stop();
    const samples = new Int16Array(heard.reduce((n, part) => n + part.length, 0));
    let at = 0;
    for (const part of heard) for (const s of part) samples[at++] = Math.max(-1, Math.min(1, s)) * 32767;
    let text = "";
    const bytes = new Uint8Array(samples.buffer);
    for (let i = 0; i < bytes.length; i += 32768) text += String.fromCharCode(...bytes.subarray(i, i + 32768));
    return { heard: btoa(text), codec, remote, transport: level, took };
  },
  [wss, conference, Number(seconds)],
);
await close();
await writeFile(write, Buffer.from(found.heard, "base64"));
console.log(JSON.stringify({ ...found, heard: undefined, errors }));
