//! EfficientNet-Lite0: a network of convolutions that tells a thousand things apart.
//!
//! Written with candle's layers, as you would write a model that no library has. The names of the layers are those in
//! the file with the weights.
use candle_core::{D, Result, Tensor};
use candle_nn::{
    BatchNormConfig, Conv2d, Conv2dConfig, Linear, Module, VarBuilder, batch_norm, conv2d_no_bias, linear,
};

use crate::depthwise::Depthwise;

/// Height and width of a photo in pixels.
pub(crate) const SIDE: usize = 224;

/// What the network tells apart.
pub(crate) const CLASSES: usize = 1000;

/// Blocks of one kind, one after the other.
struct Stage {
    blocks: usize,
    kernel: usize,
    /// Of the first block; the others keep the size.
    stride: usize,
    /// How many times as many channels a block has inside.
    expansion: usize,
    output: usize,
}

const fn stage(blocks: usize, kernel: usize, stride: usize, expansion: usize, output: usize) -> Stage {
    Stage { blocks, kernel, stride, expansion, output }
}

const STEM: usize = 32;
const STAGES: [Stage; 7] = [
    stage(1, 3, 1, 1, 16),
    stage(2, 3, 2, 6, 24),
    stage(2, 5, 2, 6, 40),
    stage(3, 3, 2, 6, 80),
    stage(3, 5, 1, 6, 112),
    stage(4, 5, 2, 6, 192),
    stage(1, 3, 1, 6, 320),
];
const HEAD: usize = 1280;

/// The network with its weights.
pub(crate) struct EfficientNetLite {
    stem: Convolution,
    blocks: Vec<Block>,
    head: Convolution,
    classes: Linear,
}

impl EfficientNetLite {
    /// # Errors
    /// If a weight is missing or has another shape.
    pub(crate) fn new(weights: VarBuilder<'_>) -> Result<Self> {
        let stem = Convolution::new(Shape::new(3, STEM, 3).stride(2), true, &weights, "_conv_stem", "_bn0")?;
        let (mut blocks, mut input) = (Vec::new(), STEM);
        for stage in &STAGES {
            for at in 0..stage.blocks {
                let stride = if at == 0 { stage.stride } else { 1 };
                let weights = weights.pp("_blocks").pp(blocks.len());
                blocks.push(Block::new(stage, input, stride, &weights)?);
                input = stage.output;
            }
        }
        let head = Convolution::new(Shape::new(input, HEAD, 1), true, &weights, "_conv_head", "_bn1")?;
        Ok(Self { stem, blocks, head, classes: linear(HEAD, CLASSES, weights.pp("_fc"))? })
    }
}

impl Module for EfficientNetLite {
    /// From photos, (number, 3, `SIDE`, `SIDE`), to one score for each class, (number, `CLASSES`).
    fn forward(&self, photos: &Tensor) -> Result<Tensor> {
        let mut seen = self.stem.forward(photos)?;
        for block in &self.blocks {
            seen = block.forward(&seen)?;
        }
        let seen = self.head.forward(&seen)?.mean(D::Minus1)?.mean(D::Minus1)?;
        self.classes.forward(&seen)
    }
}

/// More channels, one convolution for each of them, fewer channels; and the input again, if the size is the same.
struct Block {
    expand: Option<Convolution>,
    depthwise: Convolution,
    project: Convolution,
    adds_input: bool,
}

impl Block {
    fn new(stage: &Stage, input: usize, stride: usize, weights: &VarBuilder<'_>) -> Result<Self> {
        let inside = input * stage.expansion;
        let expand = match stage.expansion {
            1 => None,
            _ => Some(Convolution::new(Shape::new(input, inside, 1), true, weights, "_expand_conv", "_bn0")?),
        };
        let depthwise = Shape { groups: inside, ..Shape::new(inside, inside, stage.kernel).stride(stride) };
        Ok(Self {
            expand,
            depthwise: Convolution::new(depthwise, true, weights, "_depthwise_conv", "_bn1")?,
            project: Convolution::new(
                Shape::new(inside, stage.output, 1),
                false,
                weights,
                "_project_conv",
                "_bn2",
            )?,
            adds_input: stride == 1 && input == stage.output,
        })
    }
}

impl Module for Block {
    fn forward(&self, input: &Tensor) -> Result<Tensor> {
        let expanded = match &self.expand {
            Some(expand) => expand.forward(input)?,
            None => input.clone(),
        };
        let output = self.project.forward(&self.depthwise.forward(&expanded)?)?;
        if self.adds_input { output + input } else { Ok(output) }
    }
}

#[derive(Clone, Copy)]
struct Shape {
    input: usize,
    output: usize,
    kernel: usize,
    stride: usize,
    groups: usize,
}

impl Shape {
    const fn new(input: usize, output: usize, kernel: usize) -> Self {
        Self { input, output, kernel, stride: 1, groups: 1 }
    }

    const fn stride(self, stride: usize) -> Self {
        Self { stride, ..self }
    }
}

/// A convolution with its normalisation, which is a part of its weights once they are loaded.
struct Convolution {
    inner: Conv2d,
    kind: Kind,
    kernel: usize,
    stride: usize,
    /// Whether values are cut off below 0 and above 6.
    activates: bool,
}

enum Kind {
    /// Each pixel by itself: a product of matrices.
    Pixels,
    /// Each channel by itself.
    Channels,
    /// All of both.
    Full,
}

impl Convolution {
    fn new(
        shape: Shape,
        activates: bool,
        weights: &VarBuilder<'_>,
        name: &str,
        normalisation: &str,
    ) -> Result<Self> {
        let config = Conv2dConfig { stride: shape.stride, groups: shape.groups, ..Conv2dConfig::default() };
        let convolution = conv2d_no_bias(shape.input, shape.output, shape.kernel, config, weights.pp(name))?;
        let normalisation = batch_norm(
            shape.output,
            BatchNormConfig { eps: 1e-3, ..BatchNormConfig::default() },
            weights.pp(normalisation),
        )?;
        let inner = convolution.absorb_bn(&normalisation)?;
        let kind = match shape {
            Shape { kernel: 1, .. } => Kind::Pixels,
            Shape { groups, .. } if groups > 1 => Kind::Channels,
            Shape { .. } => Kind::Full,
        };
        Ok(Self { inner, kind, kernel: shape.kernel, stride: shape.stride, activates })
    }

    /// Zeros around the input, so that the output has its size, divided by the stride. Where their number is odd, the
    /// right and the lower edge have one more.
    fn pad(&self, input: &Tensor) -> Result<Tensor> {
        let mut padded = input.clone();
        for dimension in [2, 3] {
            let size = input.dim(dimension)?;
            let reached = (size.div_ceil(self.stride) - 1) * self.stride + self.kernel;
            let zeros = reached.saturating_sub(size);
            padded = padded.pad_with_zeros(dimension, zeros / 2, zeros - zeros / 2)?;
        }
        Ok(padded)
    }

    /// Adds what the normalisation adds to each channel.
    fn add_bias(&self, output: &Tensor) -> Result<Tensor> {
        match self.inner.bias() {
            Some(bias) => output.broadcast_add(&bias.reshape((1, (), 1, 1))?),
            None => Ok(output.clone()),
        }
    }
}

impl Module for Convolution {
    fn forward(&self, input: &Tensor) -> Result<Tensor> {
        let output = match self.kind {
            Kind::Full => self.inner.forward(&self.pad(input)?)?,
            Kind::Channels => {
                let depthwise = Depthwise { stride: self.stride };
                self.add_bias(&depthwise.apply(&self.pad(input)?, self.inner.weight())?)?
            }
            Kind::Pixels => {
                let (number, _, height, width) = input.dims4()?;
                let weights = self.inner.weight().flatten_from(1)?;
                let pixels = input.flatten_from(2)?;
                self.add_bias(&weights.broadcast_matmul(&pixels)?.reshape((number, (), height, width))?)?
            }
        };
        if self.activates { output.clamp(0_f32, 6_f32) } else { Ok(output) }
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::*;

    #[test]
    fn photos_of_a_batch_do_not_touch_each_other() {
        let network = EfficientNetLite::new(VarBuilder::from_varmap(
            &candle_nn::VarMap::new(),
            DType::F32,
            &Device::Cpu,
        ))
        .unwrap();
        let photos = Tensor::randn(0_f32, 1.0, (2, 3, 64, 64), &Device::Cpu).unwrap();
        let together = network.forward(&photos).unwrap();
        assert_eq!(together.dims(), [2, CLASSES]);
        for at in 0..2 {
            let alone = network.forward(&photos.narrow(0, at, 1).unwrap()).unwrap();
            let difference = (together.narrow(0, at, 1).unwrap() - alone).unwrap().abs().unwrap();
            let largest: f32 = difference.max_all().unwrap().to_scalar().unwrap();
            assert!(largest < 1e-3, "{largest}");
        }
    }
}
