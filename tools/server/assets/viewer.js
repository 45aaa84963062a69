// The image with boxes and heat maps over it: zoom, pan, contrast and every toggle without a server.
// Boxes are drawn in pixels of the screen, so that lines and labels keep their size.
const MAX_ZOOM = 12; // times the size that fits
const LABEL_FONT = "600 12.5px system-ui, sans-serif"; // as in page.css
const STEP = 48; // pixels of the screen that an arrow key pans

export default {
  template: `
  <section class="viewer" :aria-label="'Image ' + image.name">
    <div class="image-box">
    <div class="stage" ref="stage" tabindex="0" role="group" aria-roledescription="image viewer"
         :aria-label="image.alt" aria-describedby="viewer-keys" :class="{zoomed: zoom > 1}"
         @wheel.prevent="wheel" @keydown="key" @dblclick="fit"
         @pointerdown="down" @pointermove="move" @pointerup="up" @pointercancel="up">
      <div class="world" :style="{width: image.width + 'px', height: image.height + 'px', transform: transform}">
        <img class="image" :src="url" :alt="image.alt" draggable="false" :style="{filter: contrast}"
             @error="lost = true" @load="lost = false">
        <img v-if="heat" class="heat" :src="heat.url" alt="" draggable="false" :style="{opacity: opacity / 100}">
      </div>
      <svg class="boxes" aria-hidden="true">
        <g v-for="b in drawn" :key="b.id" class="box" :class="'line-' + b.style"
           :data-localizer="b.localizer" :data-disease="b.disease">
          <rect class="halo" :x="b.left" :y="b.top" :width="b.width" :height="b.height" />
          <rect class="line" :x="b.left" :y="b.top" :width="b.width" :height="b.height" />
        </g>
        <g v-for="b in drawn" :key="'l' + b.id" class="label" :class="'line-' + b.style"
           :transform="'translate(' + b.label.x + ' ' + b.label.y + ')'">
          <rect :width="b.label.w" height="20" rx="3" /><text x="6" y="14.5">{{ b.text }}</text>
        </g>
      </svg>
      <p v-if="lost" class="lost" role="alert">This image is no longer held. Drop it on the page again.</p>
      <p v-else-if="!image.boxes.length" class="none">{{ image.message }}</p>
      <svg width="0" height="0" aria-hidden="true"><filter :id="filterId" color-interpolation-filters="sRGB">
        <feComponentTransfer>
          <feFuncR type="linear" :slope="slope" :intercept="intercept" />
          <feFuncG type="linear" :slope="slope" :intercept="intercept" />
          <feFuncB type="linear" :slope="slope" :intercept="intercept" />
        </feComponentTransfer></filter></svg>
    </div>
    <div class="zooms" role="group" aria-label="Zoom">
      <button type="button" @click="zoomBy(1 / 1.4)" aria-label="Zoom out">−</button>
      <output class="zoom" aria-label="Zoom">{{ Math.round(100 * zoom) }} %</output>
      <button type="button" @click="zoomBy(1.4)" aria-label="Zoom in">+</button>
      <button type="button" @click="fit">Fit</button>
    </div>
    </div>
    <p id="viewer-keys" class="keys">Drag or arrow keys move, wheel or + and − zoom, 0 fits.</p>
    <div class="controls">
      <fieldset v-if="image.boxes.length">
        <legend>Boxes and scores by</legend>
        <label v-for="(l, i) in image.localizers" :key="l" class="toggle localizer">
          <input type="checkbox" :checked="!hiddenLocalizers.includes(l)" @change="toggle(hiddenLocalizers, l)">
          <svg class="sample" :class="'line-' + i" width="26" height="10" aria-hidden="true"><line class="line" x1="1" x2="25" y1="5" y2="5" /></svg>
          {{ l }}
        </label>
        <label class="toggle"><input type="checkbox" v-model="strongest"> strongest only</label>
      </fieldset>
      <fieldset v-if="image.diseases.length">
        <legend>Diseases</legend>
        <label v-for="d in image.diseases" :key="d.name" class="toggle disease">
          <input type="checkbox" :checked="!hiddenDiseases.includes(d.name)" @change="toggle(hiddenDiseases, d.name)">
          {{ d.label }}
        </label>
      </fieldset>
      <fieldset v-if="image.diseases.length">
        <legend>Heat map</legend>
        <label class="slider">of <select v-model="heatOf" class="heat-of">
          <option value="">none</option>
          <option v-for="d in image.diseases" :key="d.name" :value="d.name">{{ d.label }}</option>
        </select></label>
        <label class="slider">opacity <input type="range" class="opacity" min="0" max="100" v-model.number="opacity" :disabled="!heatOf"
               :aria-valuetext="opacity + ' percent'"><output>{{ opacity }} %</output></label>
      </fieldset>
      <fieldset v-if="image.stored">
        <legend>Window, in the file's stored values</legend>
        <label class="slider">as <select class="window-of" v-model="windowOf" @change="takeWindow">
          <option value="">read</option>
          <option v-for="w in image.stored.windows" :key="w.name" :value="w.name">{{ w.name }}</option>
          <option v-if="windowOf === 'chosen'" value="chosen">chosen</option>
        </select></label>
        <label class="slider">center <input type="range" class="center" :min="image.stored.low" :max="image.stored.high" :step="step"
               v-model.number="chosen.center" @input="chooseWindow"><output>{{ Math.round(chosen.center) }}</output></label>
        <label class="slider">width <input type="range" class="width" :min="step" :max="2 * (image.stored.high - image.stored.low)" :step="step"
               v-model.number="chosen.width" @input="chooseWindow"><output>{{ Math.round(chosen.width) }}</output></label>
        <label class="toggle"><input type="checkbox" v-model="inverted"> inverted</label>
        <button type="button" @click="resetContrast">Reset</button>
      </fieldset>
      <fieldset v-else>
        <legend>Contrast of the picture, 0 to 255</legend>
        <label class="slider">level <input type="range" class="level" min="0" max="255" v-model.number="level"><output>{{ level }}</output></label>
        <label class="slider">window <input type="range" class="window" min="8" max="512" v-model.number="width"><output>{{ width }}</output></label>
        <label class="toggle"><input type="checkbox" v-model="inverted"> inverted</label>
        <button type="button" @click="resetContrast">Reset</button>
      </fieldset>
    </div>
  </section>`,
  props: { image: Object },
  data: () => ({
    zoom: 1, x: 0, y: 0, room: { w: 1, h: 1 }, pointers: {}, lost: false,
    hiddenLocalizers: [], hiddenDiseases: [], strongest: true,
    heatOf: "", opacity: 60, level: 128, width: 256, inverted: false,
    windowOf: "", chosen: { center: 0, width: 1 }, url: "", // of DICOM images: see chooseWindow
    filterId: "contrast-" + Math.random().toString(36).slice(2),
  }),
  computed: {
    fitted() { return Math.min(this.room.w / this.image.width, this.room.h / this.image.height); },
    scale() { return this.fitted * this.zoom; },
    transform() { return `translate(${this.x}px, ${this.y}px) scale(${this.scale})`; },
    slope() { return (this.inverted ? -1 : 1) * 256 / this.width; },
    intercept() {
      const plain = 0.5 - (this.level / 256) * (256 / this.width);
      return this.inverted ? 1 - plain : plain;
    },
    contrast() {
      const plain = this.level === 128 && this.width === 256 && !this.inverted;
      return plain ? "none" : `url(#${this.filterId})`;
    },
    step() { return Math.max(1, Math.round((this.image.stored.high - this.image.stored.low) / 1000)); },
    heat() { return this.image.diseases.find((d) => d.name === this.heatOf); },
    drawn() {
      const shown = this.image.boxes.filter((b) =>
        !this.hiddenLocalizers.includes(b.localizer) && !this.hiddenDiseases.includes(b.disease) &&
        (b.rank === 1 || !this.strongest));
      const placed = [];
      return shown.map((b) => {
        const box = {
          ...b, style: this.image.localizers.indexOf(b.localizer),
          left: this.x + b.x * this.scale, top: this.y + b.y * this.scale,
          width: b.w * this.scale, height: b.h * this.scale,
        };
        box.label = this.place(box, placed);
        placed.push(box.label);
        return box;
      });
    },
  },
  watch: {
    "image.key"() { this.hiddenDiseases = []; this.heatOf = ""; this.lost = false; this.resetContrast(); this.fit(); this.comeIntoSight(); },
  },
  mounted() {
    this.resetContrast();
    this.observer = new ResizeObserver(() => this.measure());
    this.observer.observe(this.$refs.stage);
    this.measure();
  },
  unmounted() { this.observer.disconnect(); },
  methods: {
    // on a phone the image lies below the list that it was chosen from
    comeIntoSight() {
      const { top, bottom } = this.$el.getBoundingClientRect();
      if (bottom < 0 || top > 0.6 * innerHeight) this.$el.parentElement.scrollIntoView();
    },
    measure() {
      const stage = this.$refs.stage;
      this.room = { w: stage.clientWidth || 1, h: stage.clientHeight || 1 };
      this.held(this.x, this.y);
    },
    // the image stays in sight: centred where it is smaller than the stage, else without a gap
    held(x, y) {
      const inside = (place, room, size) =>
        size <= room ? (room - size) / 2 : Math.min(0, Math.max(room - size, place));
      this.x = inside(x, this.room.w, this.image.width * this.scale);
      this.y = inside(y, this.room.h, this.image.height * this.scale);
    },
    fit() { this.zoom = 1; this.held(0, 0); },
    zoomBy(factor, px = this.room.w / 2, py = this.room.h / 2) {
      const before = this.scale;
      this.zoom = Math.min(MAX_ZOOM, Math.max(1, this.zoom * factor));
      const change = this.scale / before;
      this.held(px - (px - this.x) * change, py - (py - this.y) * change);
    },
    wheel(event) {
      const at = this.$refs.stage.getBoundingClientRect();
      this.zoomBy(Math.exp(-event.deltaY / 400), event.clientX - at.left, event.clientY - at.top);
    },
    key(event) {
      const pans = { ArrowLeft: [STEP, 0], ArrowRight: [-STEP, 0], ArrowUp: [0, STEP], ArrowDown: [0, -STEP] };
      const zooms = { "+": 1.25, "=": 1.25, "-": 0.8 };
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      if (pans[event.key]) this.held(this.x + pans[event.key][0], this.y + pans[event.key][1]);
      else if (zooms[event.key]) this.zoomBy(zooms[event.key]);
      else if (event.key === "0") this.fit();
      else return;
      event.preventDefault();
    },
    down(event) {
      if (event.button) return;
      this.pointers[event.pointerId] = { x: event.clientX, y: event.clientY };
      this.$refs.stage.setPointerCapture(event.pointerId);
    },
    move(event) {
      const last = this.pointers[event.pointerId];
      if (!last) return;
      const now = { x: event.clientX, y: event.clientY };
      const other = Object.entries(this.pointers).find(([id]) => +id !== event.pointerId)?.[1];
      if (other) {
        const at = this.$refs.stage.getBoundingClientRect();
        const far = (p) => Math.hypot(p.x - other.x, p.y - other.y) || 1;
        this.zoomBy(far(now) / far(last), (now.x + other.x) / 2 - at.left, (now.y + other.y) / 2 - at.top);
      } else this.held(this.x + now.x - last.x, this.y + now.y - last.y);
      this.pointers[event.pointerId] = now;
    },
    up(event) { delete this.pointers[event.pointerId]; },
    toggle(hidden, name) {
      const at = hidden.indexOf(name);
      if (at < 0) hidden.push(name); else hidden.splice(at, 1);
    },
    resetContrast() {
      this.level = 128; this.width = 256; this.inverted = false; this.windowOf = "";
      this.takeWindow();
    },
    // "as read" is the picture that the networks saw
    takeWindow() {
      clearTimeout(this.waiting);
      const windows = this.image.stored?.windows ?? [];
      const taken = windows.find((w) => w.name === this.windowOf);
      this.chosen = { ...(taken ?? windows[0]) };
      this.url = taken ? this.urlAt(taken) : this.image.url;
    },
    chooseWindow() {
      this.windowOf = "chosen";
      clearTimeout(this.waiting); // the server draws it: not at every step of a slider on its way
      this.waiting = setTimeout(() => { this.url = this.urlAt(this.chosen); }, 80);
    },
    urlAt(w) { return `${this.image.url}?center=${w.center}&width=${w.width}`; },
    widthOf(text) {
      this.pen ??= Object.assign(document.createElement("canvas").getContext("2d"), { font: LABEL_FONT });
      return Math.ceil(this.pen.measureText(text).width);
    },
    // the label goes where it covers the least of the others: above, below, inside, right
    place(box, placed) {
      const w = this.widthOf(box.text) + 12, h = 20;
      const right = box.left + box.width, bottom = box.top + box.height;
      const spots = [
        [box.left, box.top - h], [box.left, bottom], [right - w, box.top - h], [right - w, bottom],
        [box.left, box.top], [box.left, bottom - h], [right - w, box.top], [right - w, bottom - h],
        [box.left, box.top - 2 * h], [box.left, bottom + h],
      ].map(([x, y]) => ({
        x: Math.min(Math.max(x, 2), this.room.w - w - 2), y: Math.min(Math.max(y, 2), this.room.h - h - 2), w, h,
      }));
      const over = (a, b) =>
        Math.max(0, Math.min(a.x + a.w, b.x + b.w) - Math.max(a.x, b.x)) *
        Math.max(0, Math.min(a.y + a.h, b.y + b.h) - Math.max(a.y, b.y));
      const cost = (s) => placed.reduce((sum, other) => sum + over(s, other), 0);
      return spots.reduce((best, s) => (cost(s) < cost(best) ? s : best));
    },
  },
};
