// Records the microphone without the changes that browsers make to speech, as a WAV file of 16 bits.
const REASONS = {
  NotAllowedError: "The browser may not use the microphone. Allow it for this page (the icon beside the address), then try again.",
  NotFoundError: "No microphone was found. Connect one, then try again.",
  NotReadableError: "The microphone is used by another program. Close that program, then try again.",
};

export class Recorder {
  constructor(onSecond) {
    this.onSecond = onSecond;
    this.isRunning = false;
  }

  async start() {
    if (!navigator.mediaDevices) throw new Error("This browser cannot record here. Open the page as http://127.0.0.1, not by another name.");
    const audio = { channelCount: 1, echoCancellation: false, noiseSuppression: false, autoGainControl: false };
    try {
      this.stream = await navigator.mediaDevices.getUserMedia({ audio });
    } catch (error) {
      throw new Error(REASONS[error.name] ?? `The microphone cannot be used (${error.message}).`);
    }
    this.context = new AudioContext();
    await this.context.audioWorklet.addModule(new URL("recorder-worklet.js", import.meta.url));
    this.blocks = [];
    const node = new AudioWorkletNode(this.context, "collect");
    node.port.onmessage = ({ data }) => this.add(data);
    this.context.createMediaStreamSource(this.stream).connect(node);
    this.isRunning = true;
  }

  add(block) {
    this.blocks.push(block);
    this.onSecond((this.blocks.length * block.length) / this.context.sampleRate);
  }

  stop(name) {
    this.isRunning = false;
    this.stream.getTracks().forEach((track) => track.stop());
    this.context.close();
    if (this.blocks.length === 0) throw new Error("Nothing was recorded. Record for some seconds.");
    return new File([encodeWav(this.blocks, this.context.sampleRate)], name, { type: "audio/wav" });
  }
}

function encodeWav(blocks, rate) {
  const samples = new Int16Array(blocks.reduce((sum, block) => sum + block.length, 0));
  let position = 0;
  for (const block of blocks) {
    for (const value of block) samples[position++] = Math.max(-1, Math.min(1, value)) * 32767;
  }
  const header = new DataView(new ArrayBuffer(44));
  const write = (at, text) => [...text].forEach((c, k) => header.setUint8(at + k, c.charCodeAt(0)));
  write(0, "RIFF");
  header.setUint32(4, 36 + samples.byteLength, true);
  write(8, "WAVEfmt ");
  header.setUint32(16, 16, true); // length of this part
  header.setUint16(20, 1, true); // PCM
  header.setUint16(22, 1, true); // one channel
  header.setUint32(24, rate, true);
  header.setUint32(28, rate * 2, true); // bytes per second
  header.setUint16(32, 2, true); // bytes per sample
  header.setUint16(34, 16, true); // bits
  write(36, "data");
  header.setUint32(40, samples.byteLength, true);
  return new Blob([header, samples]);
}
