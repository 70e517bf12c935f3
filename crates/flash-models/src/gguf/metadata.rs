//! What a GGUF file says about its model.
use candle_core::quantized::gguf_file::{Content, Value};

/// Which layers a model has. The names are those of llama.cpp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    Llama,
    Qwen2,
    Qwen3,
}

impl Family {
    pub(super) const NAMES: &str = "llama, qwen2 and qwen3";

    fn from_name(name: &str) -> Option<Self> {
        match name {
            "llama" => Some(Self::Llama),
            "qwen2" => Some(Self::Qwen2),
            "qwen3" => Some(Self::Qwen3),
            _ => None,
        }
    }

    /// Rotary positions pair neighbours (`2i`, `2i + 1`), or halves (`i`, `i + d / 2`).
    pub(super) fn pairs_neighbours(self) -> bool {
        matches!(self, Self::Llama)
    }
}

/// Sizes of a decoder.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    pub(super) family: Family,
    pub(super) blocks: usize,
    pub(super) heads: usize,
    pub(super) kv_heads: usize,
    pub(super) head: usize,
    pub(super) context: usize,
    pub(super) epsilon: f64,
    pub(super) base: f32,
}

impl Shape {
    /// # Errors
    ///
    /// What is missing or not supported.
    pub(super) fn of(content: &Content) -> Result<Self, String> {
        let name = text(content, "general.architecture").ok_or("it does not say its architecture")?;
        let family = Family::from_name(name)
            .ok_or_else(|| format!("its architecture is `{name}`; {} are supported", Family::NAMES))?;
        let of = |key: &str| number(content, &format!("{name}.{key}"));
        let need = |key: &str| of(key).ok_or_else(|| format!("it has no `{name}.{key}`"));
        if of("expert_count").is_some_and(|experts| experts > 1) {
            return Err("it is a mixture of experts".to_owned());
        }
        let (heads, width) = (need("attention.head_count")?, need("embedding_length")?);
        let kv_heads = of("attention.head_count_kv").unwrap_or(heads);
        if heads == 0 || kv_heads == 0 || heads % kv_heads != 0 {
            return Err(format!("it has {heads} heads for {kv_heads} of keys and values"));
        }
        let head = of("attention.key_length").unwrap_or(width / heads);
        let rotated = of("rope.dimension_count").unwrap_or(head);
        if rotated != head || head % 2 != 0 {
            return Err(format!("it rotates {rotated} of {head} dimensions of a head"));
        }
        let float = |key: &str| content.metadata.get(&format!("{name}.{key}")).and_then(|v| v.to_f32().ok());
        Ok(Self {
            family,
            blocks: need("block_count")?,
            heads,
            kv_heads,
            head,
            context: need("context_length")?,
            epsilon: f64::from(float("attention.layer_norm_rms_epsilon").unwrap_or(1e-5)),
            base: float("rope.freq_base").unwrap_or(10_000.0),
        })
    }

    /// Memory of one token's keys and values.
    pub(super) fn bytes_per_token(&self) -> usize {
        2 * self.blocks * self.kv_heads * self.head * size_of::<f32>()
    }
}

/// A text of the metadata.
pub(super) fn text<'a>(content: &'a Content, key: &str) -> Option<&'a str> {
    content.metadata.get(key)?.to_string().ok().map(String::as_str)
}

/// A number of the metadata, of whatever width.
pub(super) fn number(content: &Content, key: &str) -> Option<usize> {
    let value = match content.metadata.get(key)? {
        Value::I32(number) => u64::try_from(*number).ok()?,
        Value::I64(number) => u64::try_from(*number).ok()?,
        value => value.to_u64().ok()?,
    };
    usize::try_from(value).ok()
}

/// A switch of the metadata.
pub(super) fn switch(content: &Content, key: &str) -> Option<bool> {
    content.metadata.get(key)?.to_bool().ok()
}

/// A list of the metadata; entries of another type are left out.
pub(super) fn list<'a, T>(
    content: &'a Content,
    key: &str,
    of: impl Fn(&'a Value) -> Option<T> + 'a,
) -> Option<impl Iterator<Item = T> + 'a> {
    Some(content.metadata.get(key)?.to_vec().ok()?.iter().filter_map(of))
}
