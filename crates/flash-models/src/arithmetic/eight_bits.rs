//! Products with weights of eight bits, on processors with AVX-512 VNNI: most servers since Ice Lake and Zen 4.
//!
//! candle has kernels for them too. Those take rows of whole 256 weights only, keep a second copy of all weights, and
//! keep sums in memory; these take blocks of 32 and keep sums in registers, which makes them two to four times as fast.
use std::arch::x86_64::{
    __m256i, __m512, __m512i, _mm256_loadu_si256, _mm512_cvtepi32_ps, _mm512_cvtph_ps, _mm512_dpbusd_epi32,
    _mm512_fmadd_ps, _mm512_loadu_si512, _mm512_mul_ps, _mm512_set1_epi32, _mm512_set1_ps, _mm512_setzero_ps,
    _mm512_setzero_si512, _mm512_storeu_ps,
};

use candle_core::utils::barrier_pool;
use parking_lot::Mutex;

use super::rows::{Work, each_row};

/// Weights that share a scale, as in Q8_0.
const BLOCK: usize = 32;
/// Outputs that are computed side by side.
const LANES: usize = 16;
/// Weights of one output that an instruction multiplies and adds.
const GROUP: usize = 4;
const GROUPS: usize = BLOCK / GROUP;
/// Rows of inputs for which weights are read once.
const ROWS: usize = 4;
/// Tiles of [`LANES`] outputs that share what is read of the inputs.
const TILES: usize = 2;
/// Bytes of a block in a file: its scale, and its weights.
const STORED: usize = 2 + BLOCK;

/// Whether this processor can.
pub(super) fn supported() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vnni")
}

/// Weights, outputs × inputs, for [`LANES`] outputs at a time.
#[derive(Debug, Clone)]
pub(super) struct EightBits {
    outputs: usize,
    /// Of a row.
    blocks: usize,
    /// For each tile and block, the scales of all outputs, as halves.
    scales: Vec<[u16; LANES]>,
    /// For each tile and block, weights plus 128: the first four of each output, then the next four, and so on.
    weights: Vec<[Line; GROUPS]>,
}

/// A line of the cache.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
struct Line([u8; LANES * GROUP]);

/// Inputs with one scale.
#[derive(Clone, Copy, Default)]
struct Inputs {
    /// Four numbers of eight bits each.
    groups: [i32; GROUPS],
    scale: f32,
    /// What 128 too many in each weight adds, with the other sign.
    start: i32,
}

impl EightBits {
    /// Rows as they are in files of type Q8_0. `None` if they do not fit, or the processor cannot.
    pub(super) fn pack(stored: &[u8], outputs: usize, inputs: usize) -> Option<Self> {
        let blocks = inputs / BLOCK;
        let fits = outputs.is_multiple_of(LANES) && inputs.is_multiple_of(BLOCK) && outputs * inputs > 0;
        if !fits || stored.len() != outputs * blocks * STORED || !supported() {
            return None;
        }
        let tiles = outputs / LANES;
        let mut scales = Vec::with_capacity(tiles * blocks);
        let mut weights = Vec::with_capacity(tiles * blocks);
        for tile in 0..tiles {
            for block in 0..blocks {
                let mut scale = [0; LANES];
                let mut lines = [Line([0; LANES * GROUP]); GROUPS];
                for lane in 0..LANES {
                    let from = &stored[((tile * LANES + lane) * blocks + block) * STORED..][..STORED];
                    scale[lane] = u16::from_le_bytes([from[0], from[1]]);
                    for (group, four) in from[2..].chunks_exact(GROUP).enumerate() {
                        let to = &mut lines[group].0[lane * GROUP..][..GROUP];
                        to.iter_mut().zip(four).for_each(|(to, weight)| *to = weight ^ 0x80);
                    }
                }
                scales.push(scale);
                weights.push(lines);
            }
        }
        Some(Self { outputs, blocks, scales, weights })
    }

    /// Of each output.
    pub(super) fn inputs(&self) -> usize {
        self.blocks * BLOCK
    }

    /// A row of weights.
    pub(super) fn row(&self, output: usize, row: &mut [f32]) {
        let (tile, lane) = (output / LANES, output % LANES);
        for (block, values) in row.chunks_mut(BLOCK).enumerate() {
            let at = tile * self.blocks + block;
            let scale = half::f16::from_bits(self.scales[at][lane]).to_f32();
            for (number, value) in values.iter_mut().enumerate() {
                let weight = self.weights[at][number / GROUP].0[lane * GROUP + number % GROUP];
                *value = (f32::from(weight) - 128.0) * scale;
            }
        }
    }

    /// `x` has rows of inputs; the result has rows of outputs. For the rows in `exactly`, which are sorted, what eight bits
    /// leave of each input is multiplied too: as much work again, and an error of the inputs that is a hundredth.
    pub(super) fn forward(&self, x: &[f32], exactly: &[usize]) -> Vec<f32> {
        let blocks = self.blocks;
        let rows = x.len() / (blocks * BLOCK);
        let count = rows + exactly.len();
        let mut inputs = vec![Inputs::default(); count * blocks];
        let (first, rests) = inputs.split_at_mut(rows * blocks);
        each_row(first, blocks, Quantize { x });
        each_row(rests, blocks, QuantizeRest { x, first, exactly });
        // Each piece has some outputs of all rows.
        let width = TILES * LANES;
        let mut values = vec![0.0; count * self.outputs];
        let pieces: Vec<Mutex<&mut [f32]>> = values.chunks_mut(count * width).map(Mutex::new).collect();
        barrier_pool().execute_chunked(pieces.len(), |range| {
            for piece in range {
                // SAFETY: weights are packed only where the processor has these instructions.
                unsafe { self.outputs_of(piece * TILES, &inputs, &mut pieces[piece].lock()) };
            }
        });
        drop(pieces);
        if count < 2 {
            return values;
        }
        let mut outputs = vec![0.0; rows * self.outputs];
        each_row(&mut outputs, self.outputs, Rows { pieces: &values, rows, exactly, width });
        outputs
    }

    /// Some outputs of all rows.
    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    fn outputs_of(&self, tile: usize, inputs: &[Inputs], values: &mut [f32]) {
        let (count, both) = (inputs.len() / self.blocks, self.outputs >= (tile + TILES) * LANES);
        let width = if both { TILES * LANES } else { LANES };
        let mut row = 0;
        while row < count {
            let rows = if row + ROWS <= count { ROWS } else { 1 };
            let inputs = &inputs[row * self.blocks..][..rows * self.blocks];
            let values = &mut values[row * width..][..rows * width];
            match (rows, both) {
                (ROWS, true) => self.tiles::<ROWS, TILES>(tile, inputs, values),
                (ROWS, false) => self.tiles::<ROWS, 1>(tile, inputs, values),
                (_, true) => self.tiles::<1, TILES>(tile, inputs, values),
                (_, false) => self.tiles::<1, 1>(tile, inputs, values),
            }
            row += rows;
        }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    #[inline]
    fn tiles<const R: usize, const T: usize>(&self, tile: usize, inputs: &[Inputs], values: &mut [f32]) {
        let blocks = self.blocks;
        let mut sums = [[_mm512_setzero_ps(); T]; R];
        for block in 0..blocks {
            let mut products = [[_mm512_setzero_si512(); T]; R];
            for row in 0..R {
                products[row] = [_mm512_set1_epi32(inputs[row * blocks + block].start); T];
            }
            for group in 0..GROUPS {
                let mut weights = [_mm512_setzero_si512(); T];
                for (at, weights) in weights.iter_mut().enumerate() {
                    *weights = line(&self.weights[(tile + at) * blocks + block][group]);
                }
                for row in 0..R {
                    let four = _mm512_set1_epi32(inputs[row * blocks + block].groups[group]);
                    for at in 0..T {
                        products[row][at] = _mm512_dpbusd_epi32(products[row][at], weights[at], four);
                    }
                }
            }
            for at in 0..T {
                let scales = _mm512_cvtph_ps(halves(&self.scales[(tile + at) * blocks + block]));
                for row in 0..R {
                    let scale = _mm512_set1_ps(inputs[row * blocks + block].scale);
                    let product = _mm512_cvtepi32_ps(products[row][at]);
                    sums[row][at] = _mm512_fmadd_ps(product, _mm512_mul_ps(scales, scale), sums[row][at]);
                }
            }
        }
        for (values, sums) in values.as_chunks_mut::<LANES>().0.iter_mut().zip(sums.as_flattened()) {
            store(values, *sums);
        }
    }
}

#[target_feature(enable = "avx512f")]
#[inline]
fn line(line: &Line) -> __m512i {
    // SAFETY: 64 bytes are read, as many as there are.
    unsafe { _mm512_loadu_si512(std::ptr::from_ref(line).cast()) }
}

#[target_feature(enable = "avx512f")]
#[inline]
fn halves(halves: &[u16; LANES]) -> __m256i {
    // SAFETY: 32 bytes are read, as many as there are.
    unsafe { _mm256_loadu_si256(halves.as_ptr().cast()) }
}

#[target_feature(enable = "avx512f")]
#[inline]
fn store(values: &mut [f32; LANES], from: __m512) {
    // SAFETY: 64 bytes are written, as many as there are.
    unsafe { _mm512_storeu_ps(values.as_mut_ptr(), from) }
}

/// Inputs to eight bits, with a scale for each block.
struct Quantize<'a> {
    x: &'a [f32],
}

impl Work<Inputs> for Quantize<'_> {
    #[inline(always)]
    fn compute(&self, at: usize, row: &mut [Inputs]) {
        let x = &self.x[at * row.len() * BLOCK..][..row.len() * BLOCK];
        for (inputs, x) in row.iter_mut().zip(x.as_chunks::<BLOCK>().0) {
            *inputs = Inputs::of(x);
        }
    }
}

/// What is left of some rows.
struct QuantizeRest<'a> {
    x: &'a [f32],
    first: &'a [Inputs],
    exactly: &'a [usize],
}

impl Work<Inputs> for QuantizeRest<'_> {
    #[inline(always)]
    fn compute(&self, at: usize, row: &mut [Inputs]) {
        let (from, blocks) = (self.exactly[at], row.len());
        let x = &self.x[from * blocks * BLOCK..][..blocks * BLOCK];
        let first = &self.first[from * blocks..][..blocks];
        for ((inputs, first), x) in row.iter_mut().zip(first).zip(x.as_chunks::<BLOCK>().0) {
            *inputs = Inputs::of(&first.rest(x));
        }
    }
}

impl Inputs {
    /// What is left of `x`.
    #[inline(always)]
    fn rest(&self, x: &[f32; BLOCK]) -> [f32; BLOCK] {
        let mut rest = *x;
        for (rest, four) in rest.as_chunks_mut::<GROUP>().0.iter_mut().zip(self.groups) {
            for (rest, number) in rest.iter_mut().zip(four.to_le_bytes()) {
                *rest -= f32::from(number as i8) * self.scale;
            }
        }
        rest
    }

    #[inline(always)]
    fn of(x: &[f32; BLOCK]) -> Self {
        // Adding it rounds to a whole number, which is then in the last bits.
        const ROUND: f32 = 12_582_912.0;
        let mut most = [0.0f32; LANES];
        for part in x.as_chunks::<LANES>().0 {
            for (most, x) in most.iter_mut().zip(part) {
                *most = if x.abs() > *most { x.abs() } else { *most };
            }
        }
        let most = most.into_iter().fold(0.0f32, f32::max);
        let scale = most / 127.0;
        let inverse = if most > 0.0 { 127.0 / most } else { 0.0 };
        let mut numbers = [0i8; BLOCK];
        let mut sum = 0;
        for (number, x) in numbers.iter_mut().zip(x) {
            let whole = (x * inverse + ROUND).to_bits() as i32 - ROUND.to_bits() as i32;
            *number = whole as i8;
            sum += whole;
        }
        let mut groups = [0; GROUPS];
        for (group, four) in groups.iter_mut().zip(numbers.as_chunks::<GROUP>().0) {
            *group = i32::from_le_bytes(four.map(|number| number as u8));
        }
        Self { groups, scale, start: -128 * sum }
    }
}

/// From pieces with some outputs of all rows to rows.
struct Rows<'a> {
    pieces: &'a [f32],
    rows: usize,
    /// Rows whose rest is in the pieces too, after all rows.
    exactly: &'a [usize],
    width: usize,
}

impl Work for Rows<'_> {
    #[inline(always)]
    fn compute(&self, at: usize, row: &mut [f32]) {
        let rest = self.exactly.binary_search(&at).ok();
        let pieces = self.pieces.chunks((self.rows + self.exactly.len()) * self.width);
        for (outputs, piece) in row.chunks_mut(self.width).zip(pieces) {
            let width = outputs.len();
            outputs.copy_from_slice(&piece[at * width..][..width]);
            if let Some(rest) = rest {
                let rest = &piece[(self.rows + rest) * width..][..width];
                outputs.iter_mut().zip(rest).for_each(|(output, rest)| *output += rest);
            }
        }
    }
}
