// Sends the microphone's samples to the page in blocks of 0.2 s or so.
class Collect extends AudioWorkletProcessor {
  constructor() {
    super();
    this.block = new Float32Array(8192);
    this.length = 0;
  }

  process([[samples]]) {
    if (!samples) return true;
    this.block.set(samples, this.length);
    this.length += samples.length;
    if (this.length === this.block.length) {
      this.port.postMessage(this.block);
      this.length = 0;
    }
    return true;
  }
}
registerProcessor("collect", Collect);
