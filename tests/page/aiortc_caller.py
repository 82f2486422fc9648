# A WebRTC peer that is no browser (aiortc) calls by SIP over TCP, says a file and writes what it hears. Arguments: the bridge's SIP address
# over TCP, the conference, the file to say, the file to write (WAV, 48 kHz), seconds, and the codec that is offered alone. Tells as JSON what came of it.
import asyncio
import json
import sys
import wave

from aiortc import RTCPeerConnection, RTCRtpSender, RTCSessionDescription
from aiortc.contrib.media import MediaPlayer

address, conference, say, write, seconds, codec = sys.argv[1:]
host, port = address.rsplit(":", 1)


def request(method, cseq, to_tag, body=""):
    branch = f"z9hG4bK{method}{cseq}"
    kind = "Content-Type: application/sdp\r\n" if body else ""
    return (
        f"{method} sip:{conference}@{address} SIP/2.0\r\nVia: SIP/2.0/TCP {own};branch={branch}\r\nMax-Forwards: 70\r\n"
        f"From: <sip:ada@example.com>;tag=1\r\nTo: <sip:{conference}@{address}>{to_tag}\r\nCall-ID: aiortc-{own}\r\n"
        f"CSeq: {cseq} {method}\r\nContact: <sip:ada@{own};transport=tcp>\r\n{kind}Content-Length: {len(body)}\r\n\r\n{body}"
    ).encode()


async def response(reader):
    while True:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = [int(l.split(":")[1]) for l in head.split("\r\n") if l.lower().startswith("content-length:")]
        body = (await reader.readexactly(length[0])).decode() if length else ""
        status = int(head.split(" ")[1])
        if status >= 200:
            to = [l for l in head.split("\r\n") if l.lower().startswith("to:")][0]
            return status, to[to.rfind(";tag=") :] if ";tag=" in to else "", body


async def hear(track, out):
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(48000)
        while True:
            frame = await track.recv()
            channels = len(frame.layout.channels)
            pcm = frame.to_ndarray().reshape(-1, channels)[:, 0]
            # Narrow codecs come with 8 kHz.
            file.writeframes(pcm.repeat(48000 // frame.sample_rate).tobytes())


async def main():
    global own
    reader, writer = await asyncio.open_connection(host, int(port))
    own = "{}:{}".format(*writer.get_extra_info("sockname")[:2])
    peer = RTCPeerConnection()
    player = MediaPlayer(say, loop=True)
    transceiver = peer.addTransceiver(player.audio, "sendrecv")
    all_codecs = RTCRtpSender.getCapabilities("audio").codecs
    transceiver.setCodecPreferences([c for c in all_codecs if c.mimeType.lower() == f"audio/{codec}"])
    hearing = []

    @peer.on("track")
    def on_track(track):
        hearing.append(asyncio.ensure_future(hear(track, write)))

    states = []
    connected = asyncio.Event()

    @peer.on("connectionstatechange")
    async def on_state():
        states.append(peer.connectionState)
        if peer.connectionState in ("connected", "failed"):
            connected.set()

    await peer.setLocalDescription(await peer.createOffer())
    writer.write(request("INVITE", 1, "", peer.localDescription.sdp))
    status, tag, answer = await response(reader)
    if status != 200:
        return {"status": status}
    writer.write(request("ACK", 1, tag))
    await peer.setRemoteDescription(RTCSessionDescription(answer, "answer"))
    await asyncio.wait_for(connected.wait(), 15)
    await asyncio.sleep(float(seconds))
    stats = await peer.getStats()
    remote = [s for s in stats.values() if s.type == "remote-inbound-rtp"]
    for task in hearing:
        task.cancel()
    writer.write(request("BYE", 2, tag))
    bye, _, _ = await response(reader)
    await peer.close()
    told = [{"lost": s.packetsLost, "round_trip": s.roundTripTime is not None} for s in remote]
    return {"status": status, "states": states[:2], "bye": bye, "told": told}


print(json.dumps(asyncio.run(main())))
