// A call by this browser: its microphone and the meeting's sound, over one connection that is agreed on by one question and one answer (RFC 9725's way).

import { ViewerKey } from "./keys";

type Ask = <T>(method: string, path: string, body?: unknown) => Promise<T>;

export class Call {
  private constructor(
    private readonly connection: RTCPeerConnection,
    private readonly microphone: MediaStream,
  ) {}

  /** Comes into the meeting; `name` is shown to who may see it, and nothing where it is empty. */
  static async join(ask: Ask, name: string, sound: HTMLAudioElement): Promise<Call> {
    const microphone = await navigator.mediaDevices.getUserMedia({ audio: { echoCancellation: true, noiseSuppression: true, autoGainControl: true } });
    // The bridge is reached directly, and finds us by what comes from us (RFC 8445): no server of others is asked.
    const connection = new RTCPeerConnection({ iceServers: [], bundlePolicy: "max-bundle" });
    const call = new Call(connection, microphone);
    try {
      for (const track of microphone.getAudioTracks()) connection.addTrack(track, microphone);
      connection.ontrack = ({ track }) => {
        sound.srcObject = new MediaStream([track]);
        void sound.play();
      };
      await connection.setLocalDescription();
      const offer = connection.localDescription?.sdp ?? "";
      const sealed = name ? { name: { jwe: await (await ViewerKey.register("me/key", ask)).seal(name) } } : {};
      const { sdp } = await ask<{ sdp: string }>("POST", "me/audio", { sdp: offer, ...sealed });
      await connection.setRemoteDescription({ type: "answer", sdp });
      return call;
    } catch (wrong) {
      call.end();
      throw wrong;
    }
  }

  /** Whether the microphone is listened to at all. */
  listen(yes: boolean) {
    for (const track of this.microphone.getAudioTracks()) track.enabled = yes;
  }

  end() {
    for (const track of this.microphone.getTracks()) track.stop();
    this.connection.close();
  }
}
