// Players of a mixture and its stems. All tracks of a player share one clock.
(() => {
  if (customElements.get("stem-player")) return;

  const MOST_BYTES = 6e8; // of decoded audio; more is played as it is read
  const FADE = 0.01; // seconds; without it a change of volume clicks
  const STEP = 5; // seconds that an arrow key goes
  const DRIFT = 0.01, JUMP = 0.15; // seconds that elements may be apart
  let context = null; // made when a key is pressed, as browsers want it
  let sounding = null; // the player that plays; another one stops it

  // Tracks decoded as a whole, started at one time of one clock: exact to the sample.
  class Buffers {
    constructor(audios) {
      this.audios = audios;
      this.gains = audios.map(() => context.createGain());
      for (const gain of this.gains) gain.connect(context.destination);
      this.sources = [];
      this.place = 0;
    }
    async load(onBroken) {
      this.buffers = await Promise.all(this.audios.map(async (audio, k) => {
        const answer = await fetch(audio.src);
        if (!answer.ok) return onBroken(k);
        const bytes = await answer.arrayBuffer();
        return context.decodeAudioData(bytes).catch(() => onBroken(k));
      }));
    }
    get time() {
      if (!this.sources.length) return this.place;
      return Math.max(this.place, this.place + context.currentTime - this.started);
    }
    async play() {
      await context.resume();
      this.started = context.currentTime + 0.05; // all of them are ready by then
      this.buffers.forEach((buffer, k) => {
        const at = this.place + startOf(this.audios[k]);
        if (!buffer || at >= buffer.duration) return;
        const source = new AudioBufferSourceNode(context, { buffer });
        source.connect(this.gains[k]);
        source.start(this.started, at);
        this.sources.push(source);
      });
    }
    pause() {
      this.place = this.time;
      for (const source of this.sources) source.stop();
      this.sources = [];
    }
    async seek(time) {
      const playing = this.sources.length > 0;
      this.pause();
      this.place = time;
      if (playing) await this.play();
    }
    setGain(k, value) { this.gains[k].gain.setTargetAtTime(value, context.currentTime, FADE); }
    gain(k) { return this.gains[k].gain.value; }
    close() { this.pause(); for (const gain of this.gains) gain.disconnect(); }
  }

  // Tracks that may not be fetched (a page from a disk) or would not fit in memory: the
  // first is the clock, and the others are kept beside it.
  class Elements {
    constructor(audios) { this.audios = audios; }
    async load(onBroken) {
      await Promise.all(this.audios.map((audio, k) => new Promise((done) => {
        audio.preservesPitch = false;
        if (audio.readyState >= 2) { done(); return; }
        audio.addEventListener("canplay", done, { once: true });
        audio.addEventListener("error", () => { onBroken(k); done(); }, { once: true });
        audio.preload = "auto";
        audio.load();
      })));
      this.usable = this.audios.filter((audio) => !audio.error);
      await this.seek(0);
    }
    get time() {
      const clock = this.usable[0];
      return clock ? Math.max(0, clock.currentTime - startOf(clock)) : 0;
    }
    async play() {
      const turn = this.turn = {};
      this.wanted = true;
      await Promise.all(this.usable.map((audio) => audio.play().catch(onInterrupted)));
      if (turn === this.turn) this.watch = setInterval(() => this.align(), 100);
    }
    align() {
      const time = this.time;
      for (const audio of this.usable.slice(1)) {
        const late = time + startOf(audio) - audio.currentTime;
        if (audio.ended) continue;
        if (Math.abs(late) > JUMP) audio.currentTime += late;
        const rate = Math.abs(late) > DRIFT ? 1 + Math.max(-0.05, Math.min(0.05, late)) : 1;
        if (audio.playbackRate !== rate) audio.playbackRate = rate;
      }
    }
    pause() {
      this.wanted = false;
      this.hold();
    }
    hold() {
      clearInterval(this.watch);
      for (const audio of this.usable) audio.pause();
      return this.turn = {};
    }
    // All are held until the last is there; of several calls the last one goes on.
    async seek(time) {
      const turn = this.hold();
      await Promise.all(this.usable.map((audio) => new Promise((done) => {
        const at = time + startOf(audio);
        if (Math.abs(audio.currentTime - at) < 1e-3) { done(); return; }
        audio.addEventListener("seeked", done, { once: true });
        audio.currentTime = at;
      })));
      if (this.wanted && turn === this.turn) await this.play();
    }
    setGain(k, value) { this.audios[k].volume = value; }
    gain(k) { return this.audios[k].volume; }
    close() { this.pause(); }
  }

  const onInterrupted = (error) => { if (error.name !== "AbortError") throw error; };
  const startOf = (audio) => Number(audio.dataset.start || 0);

  const clock = (seconds) => {
    const whole = Math.floor(seconds), two = (n) => String(n).padStart(2, "0");
    const minutes = Math.floor(whole / 60), hours = Math.floor(minutes / 60);
    if (hours) return `${hours}:${two(minutes % 60)}:${two(whole % 60)}`;
    return `${minutes}:${two(whole % 60)}`;
  };

  // A waveform as the outline of its peaks, above and below the middle.
  const drawWave = (lane) => {
    const peaks = Array.from(atob(lane.dataset.peaks), (c) => c.charCodeAt(0));
    const above = peaks.map((peak, k) => `${k},${255 - peak}`);
    const below = peaks.map((peak, k) => `${k},${257 + peak}`).reverse();
    const shape = `<svg viewBox="0 0 ${peaks.length - 1} 512" preserveAspectRatio="none"
      aria-hidden="true"><path d="M${above.join("L")}L${below.join("L")}Z"/></svg>`;
    lane.insertAdjacentHTML("afterbegin",
      `${shape}<div class="sp-played">${shape}</div><div class="sp-cursor"></div>`);
  };

  class StemPlayer extends HTMLElement {
    connectedCallback() {
      // A page of many players draws those that are looked at.
      this.seen = new IntersectionObserver((entries) => {
        if (entries.some((entry) => entry.isIntersecting)) this.setUp();
      }, { rootMargin: "200px" });
      this.seen.observe(this);
    }
    disconnectedCallback() {
      this.seen.disconnect();
      this.pause();
      this.engine?.close();
      this.engine = this.ready = null;
    }

    setUp() {
      this.seen.disconnect();
      if (this.rows) return;
      const find = (name, from = this) => from.querySelector(`.sp-${name}`);
      this.duration = Number(this.dataset.seconds);
      this.button = find("play");
      this.slider = find("seek");
      this.now = find("now");
      this.status = find("status");
      this.rows = [...this.querySelectorAll(".sp-track")].map((line) => ({
        line, audio: line.querySelector("audio"), lane: find("lane", line),
        mute: find("mute", line), solo: find("solo", line), volume: find("volume", line),
      }));
      this.place = 0;
      this.button.addEventListener("click", () => this.toggle());
      this.slider.addEventListener("input", () => this.seek(Number(this.slider.value)));
      this.addEventListener("keydown", (event) => this.onKey(event));
      for (const row of this.rows) this.setUpRow(row);
      find("transport").hidden = false;
      this.mix();
      this.show();
    }
    setUpRow(row) {
      drawWave(row.lane);
      row.audio.hidden = true;
      row.line.querySelector(".sp-controls").hidden = false;
      for (const button of [row.mute, row.solo]) {
        button.addEventListener("click", () => {
          button.setAttribute("aria-pressed", String(!pressed(button)));
          this.mix();
        });
      }
      row.volume.addEventListener("input", () => this.mix());
      const seekTo = (event) => {
        const box = row.lane.getBoundingClientRect();
        this.seek((event.clientX - box.left) / box.width * this.duration);
      };
      row.lane.addEventListener("click", seekTo);
    }

    // What each track is to sound like: what is heard alone silences all others.
    mix() {
      const alone = this.rows.some((row) => pressed(row.solo));
      this.rows.forEach((row, k) => {
        const heard = alone ? pressed(row.solo) : !pressed(row.mute);
        row.target = heard ? (row.volume.value / 100) ** 2 : 0;
        row.line.classList.toggle("sp-silent", !heard);
        this.engine?.setGain(k, row.target);
      });
    }
    get gains() {
      return this.rows.map((row, k) => this.engine ? this.engine.gain(k) : row.target);
    }
    get time() { return this.playing ? this.engine.time : this.place; }
    get engineName() { return this.engine?.constructor.name; }

    async load() {
      const audios = this.rows.map((row) => row.audio);
      context ??= new AudioContext();
      const onBroken = (k) => {
        this.rows[k].line.classList.add("sp-broken");
        const name = this.rows[k].line.querySelector(".sp-name").textContent;
        this.status.textContent = `This browser cannot play ${name}.`;
        return null;
      };
      const bytes = this.duration * audios.length * context.sampleRate * 8;
      const linked = audios.some((audio) => new URL(audio.src).protocol === "file:");
      let engine = new (linked || bytes > MOST_BYTES ? Elements : Buffers)(audios);
      this.status.textContent = "Loading\u2026";
      try {
        await engine.load(onBroken);
      } catch {
        engine.close();
        engine = new Elements(audios);
        await engine.load(onBroken);
      }
      if (this.status.textContent === "Loading\u2026") this.status.textContent = "";
      if (!this.isConnected) { engine.close(); return; }
      this.engine = engine;
      this.mix();
    }
    async play() {
      this.ready ??= this.load();
      await this.ready;
      if (!this.engine || this.playing) return;
      if (sounding && sounding !== this) sounding.pause();
      sounding = this;
      await this.engine.seek(this.place);
      await this.engine.play();
      this.playing = true;
      this.show();
      this.tick();
    }
    pause() {
      if (!this.playing) return;
      this.place = Math.min(this.engine.time, this.duration);
      this.playing = false;
      this.engine.pause();
      this.show();
    }
    toggle() { if (this.playing) this.pause(); else this.play(); }
    async seek(time) {
      this.place = Math.max(0, Math.min(this.duration, time));
      this.show(this.place);
      if (this.playing) await this.engine.seek(this.place);
    }
    tick() {
      if (!this.playing) return;
      if (this.time >= this.duration) {
        this.pause();
        this.place = 0;
      }
      this.show();
      requestAnimationFrame(() => this.tick());
    }
    show(time = this.time) {
      const text = clock(time);
      this.style.setProperty("--sp-at", `${100 * time / (this.duration || 1)}%`);
      this.slider.value = time;
      if (this.now.textContent !== text || !this.slider.ariaValueText) {
        this.now.textContent = text;
        this.slider.ariaValueText = `${text} of ${clock(this.duration)}`;
      }
      this.classList.toggle("sp-playing", Boolean(this.playing));
      this.button.ariaLabel = this.playing ? "Pause" : "Play";
    }
    onKey(event) {
      const ways = { ArrowLeft: -STEP, ArrowRight: STEP };
      if (event.target.type === "range" && event.target !== this.slider) return;
      if (event.altKey || event.ctrlKey || event.metaKey || !(event.key in ways)) return;
      event.preventDefault();
      this.seek(this.time + ways[event.key]);
    }
  }
  const pressed = (button) => button.getAttribute("aria-pressed") === "true";
  customElements.define("stem-player", StemPlayer);
})();
