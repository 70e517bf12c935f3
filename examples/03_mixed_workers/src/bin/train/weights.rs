//! Layers on their way from random numbers to a file.
use std::{collections::HashMap, path::Path};

use candle_core::{DType, Device, Result, Tensor, Var};
use candle_nn::VarBuilder;

use crate::{error::TrainError, random::Random};

/// The trainable layers of a network, by name.
#[derive(Debug)]
pub(crate) struct Layers(Vec<(String, Var)>);

impl Layers {
    /// Linear layers of the given names, inputs and outputs.
    ///
    /// Drawn from our own generator: candle's on the CPU takes no seed.
    pub(crate) fn random(sizes: &[(&str, usize, usize)], random: &mut Random) -> Result<Self> {
        let mut layers = Vec::new();
        for &(name, inputs, outputs) in sizes {
            let weight = random.layer(inputs, inputs * outputs);
            let weight = Tensor::from_vec(weight, (outputs, inputs), &Device::Cpu)?;
            layers.push((format!("{name}.weight"), Var::from_tensor(&weight)?));
            layers.push((format!("{name}.bias"), Var::zeros(outputs, DType::F32, &Device::Cpu)?));
        }
        Ok(Self(layers))
    }

    pub(crate) fn variables(&self) -> Vec<Var> {
        self.0.iter().map(|(_, variable)| variable.clone()).collect()
    }

    pub(crate) fn tensors(&self) -> HashMap<String, Tensor> {
        self.0.iter().map(|(name, variable)| (name.clone(), variable.as_tensor().clone())).collect()
    }

    pub(crate) fn builder(&self) -> VarBuilder<'static> {
        VarBuilder::from_tensors(self.tensors(), DType::F32, &Device::Cpu)
    }
}

/// Saves in half precision: half the size, and no answer changes by a digit that is shown.
pub(crate) fn save(tensors: &HashMap<String, Tensor>, path: &Path) -> std::result::Result<(), TrainError> {
    let halves: Result<HashMap<String, Tensor>> =
        tensors.iter().map(|(name, tensor)| Ok((name.clone(), tensor.to_dtype(DType::F16)?))).collect();
    halves
        .and_then(|halves| candle_core::safetensors::save(&halves, path))
        .map_err(|source| TrainError::Save { path: path.to_owned(), source })
}
