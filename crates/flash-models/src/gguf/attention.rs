//! Attention of one sequence, over a cache that grows.
use candle_core::{D, Device, Result, Tensor};
use candle_nn::ops::softmax_last_dim;

/// Tokens for which a cache first has room. It doubles when it is full.
const FIRST_ROOM: usize = 64;

/// Keys and values of one layer for one sequence.
#[derive(Debug, Default)]
pub(super) struct Cache {
    /// Heads × room × head each.
    stored: Option<(Tensor, Tensor)>,
    length: usize,
}

impl Cache {
    /// Adds keys and values (heads × tokens × head), and returns all.
    fn append(&mut self, keys: &Tensor, values: &Tensor) -> Result<(Tensor, Tensor)> {
        let (heads, added, head) = keys.dims3()?;
        let length = self.length + added;
        let room = self.stored.as_ref().map_or(Ok(0), |(keys, _)| keys.dim(1))?;
        if length > room {
            let grow = |old: Option<&Tensor>| -> Result<Tensor> {
                let room = length.max(2 * room).next_multiple_of(FIRST_ROOM);
                let new = Tensor::zeros((heads, room, head), keys.dtype(), keys.device())?;
                if let (Some(old), 1..) = (old, self.length) {
                    new.slice_set(&old.narrow(1, 0, self.length)?.force_contiguous()?, 1, 0)?;
                }
                Ok(new)
            };
            let (old_keys, old_values) = self.stored.as_ref().map(|(keys, values)| (keys, values)).unzip();
            self.stored = Some((grow(old_keys)?, grow(old_values)?));
        }
        let (all_keys, all_values) = self.stored.as_ref().expect("there is room for what comes");
        all_keys.slice_set(&keys.contiguous()?, 1, self.length)?;
        all_values.slice_set(&values.contiguous()?, 1, self.length)?;
        self.length = length;
        Ok((all_keys.narrow(1, 0, length)?, all_values.narrow(1, 0, length)?))
    }

    /// A cache of its own with the first tokens of this one.
    pub(super) fn prefix(&self, tokens: usize) -> Result<Self> {
        let copy = |tensor: &Tensor| tensor.narrow(1, 0, tokens)?.force_contiguous();
        let stored = match &self.stored {
            Some((keys, values)) => Some((copy(keys)?, copy(values)?)),
            None => None,
        };
        Ok(Self { stored, length: tokens })
    }
}

/// What tokens after `past` others see: all before them and themselves. `None` for one token, which sees all.
pub(super) fn mask(tokens: usize, past: usize, device: &Device) -> Result<Option<Tensor>> {
    if tokens == 1 {
        return Ok(None);
    }
    let seen =
        |row: usize| (0..past + tokens).map(move |at| if at > past + row { f32::NEG_INFINITY } else { 0.0 });
    let mask: Vec<f32> = (0..tokens).flat_map(seen).collect();
    Tensor::from_vec(mask, (tokens, past + tokens), device).map(Some)
}

/// Attention of the tokens of one sequence. `queries` are heads × tokens × head; the result is tokens × all heads.
///
/// Several heads of queries share one of keys and values. They are taken together as more rows, so that keys and values
/// need not be repeated.
pub(super) fn attend(
    cache: &mut Cache,
    queries: &Tensor,
    keys: &Tensor,
    values: &Tensor,
    mask: Option<&Tensor>,
) -> Result<Tensor> {
    let (heads, tokens, head) = queries.dims3()?;
    let kv_heads = keys.dim(0)?;
    let (keys, values) = cache.append(keys, values)?;
    let length = keys.dim(1)?;
    let rows = (heads / kv_heads) * tokens;
    let queries = (queries.contiguous()? / f64::sqrt(head as f64))?.reshape((kv_heads, rows, head))?;
    let mut scores = queries.matmul(&keys.transpose(1, 2)?)?;
    if let Some(mask) = mask {
        scores = scores
            .reshape((heads, tokens, length))?
            .broadcast_add(mask)?
            .reshape((kv_heads, rows, length))?;
    }
    let seen = softmax_last_dim(&scores)?.matmul(&values)?;
    seen.reshape((heads, tokens, head))?.transpose(0, 1)?.reshape((tokens, heads * head))
}

/// The rows that end each part, of all rows.
pub(super) fn rows(tensor: &Tensor, at: &[u32]) -> Result<Tensor> {
    match tensor.dim(D::Minus2)? == at.len() {
        true => Ok(tensor.clone()),
        false => tensor.index_select(&Tensor::new(at, tensor.device())?, 0),
    }
}
