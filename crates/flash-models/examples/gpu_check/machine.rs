//! What the machine has, and whether it computes what a CPU computes.
use std::{
    env, fs,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use candle_core::{DType, Device, Tensor};

use crate::{Outcome, Place, cosine, encoder, language, median};

/// The device that models take here, in one line.
pub(crate) fn probe() -> String {
    match Device::new_cuda(0) {
        Ok(_) => "cuda:0".to_owned(),
        Err(error) => format!("cpu: {}", error.to_string().lines().next().unwrap_or_default()),
    }
}

/// This program without the driver's library: the loader finds an empty file in its place.
pub(crate) fn without_driver(directory: &Path) -> Outcome {
    let hidden = directory.join("no-driver");
    fs::create_dir_all(&hidden)?;
    fs::write(hidden.join("libcuda.so.1"), "")?;
    let others = env::var("LD_LIBRARY_PATH").unwrap_or_default();
    let path = format!("{}:{others}", hidden.display());
    let said = child(Command::new(env::current_exe()?).arg("probe").env("LD_LIBRARY_PATH", path))?;
    let said = said.trim();
    match said.starts_with("cpu: ") {
        true => Ok(format!("starts, `{said}`")),
        false => Err(format!("the driver was hidden, and the device is `{said}`").into()),
    }
}

/// The same with the driver that is here.
pub(crate) fn with_driver(place: Place) -> Outcome {
    let said = child(Command::new(env::current_exe()?).arg("probe"))?;
    let said = said.trim();
    match (place, said) {
        (Place::Gpu, "cuda:0") | (Place::Cpu, _) => Ok(format!("starts, `{said}`")),
        (Place::Gpu, _) => Err(format!("the device is `{said}`").into()),
    }
}

/// As the driver's tool says.
pub(crate) fn name(place: Place) -> Outcome {
    if place == Place::Cpu {
        return Ok("left out: the CPU has none".to_owned());
    }
    let fields = "--query-gpu=name,driver_version,memory.total,memory.free,compute_cap";
    let said = child(Command::new("nvidia-smi").args([fields, "--format=csv,noheader"]))?;
    Ok(said.lines().next().unwrap_or_default().to_owned())
}

/// The vectors of some texts and the logits of a prompt, one a line. Run as a child that sees no GPU.
pub(crate) fn vectors(directory: &Path) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut rows = runtime.block_on(encoder::vectors(directory))?;
    rows.push(language::logits(directory)?);
    Ok(serde_json::to_string(&rows)?)
}

/// Compares what the device computes with what a child computes that sees none.
pub(crate) fn agree(directory: &Path) -> Outcome {
    let mut command = Command::new(env::current_exe()?);
    let said = child(command.arg("vectors").arg(directory).env("CUDA_VISIBLE_DEVICES", ""))?;
    let expected: Vec<Vec<f32>> = serde_json::from_str(&said)?;
    let seen: Vec<Vec<f32>> = serde_json::from_str(&vectors(directory)?)?;
    let cosines: Vec<f64> = expected.iter().zip(&seen).map(|(one, other)| cosine(one, other)).collect();
    let Some((logits, texts)) = cosines.split_last() else {
        return Err("there is nothing to compare".into());
    };
    let texts = texts.iter().copied().fold(1.0, f64::min);
    let found = format!("least cosine {texts:.6} of vectors, {logits:.6} of logits");
    // The decoder's inputs have eight bits on a GPU.
    match texts >= 0.9999 && *logits >= 0.99 {
        true => Ok(found),
        false => Err(found.into()),
    }
}

/// Bytes of the copy, and bytes per second: those that are read and those that are written.
pub(crate) fn bandwidth(
    place: Place,
    device: &Device,
) -> Result<(usize, f64), Box<dyn std::error::Error + Send + Sync>> {
    let bytes: usize = match place {
        Place::Gpu => 2 << 30,
        Place::Cpu => 64 << 20,
    };
    let from = Tensor::ones(bytes / 4, DType::F32, device)?;
    let to = Tensor::zeros(bytes / 4, DType::F32, device)?;
    let mut times = Vec::new();
    for _ in 0..11 {
        device.synchronize()?;
        let start = Instant::now();
        to.slice_set(&from, 0, 0)?;
        device.synchronize()?;
        times.push(start.elapsed());
    }
    let time = median(times).max(Duration::from_nanos(1));
    Ok((bytes, 2.0 * bytes as f64 / time.as_secs_f64()))
}

/// Takes the device's memory but for about half a GiB. It is free again when the result is dropped.
pub(crate) fn fill(device: &Device) -> candle_core::Result<Vec<Tensor>> {
    const PIECE: usize = 256 << 20;
    let mut taken = Vec::new();
    while let Ok(piece) = Tensor::zeros(PIECE / 4, DType::F32, device) {
        taken.push(piece);
    }
    taken.truncate(taken.len().saturating_sub(2));
    device.synchronize()?;
    Ok(taken)
}

fn child(command: &mut Command) -> Outcome {
    let name = command.get_program().display().to_string();
    let output = command.output().map_err(|error| format!("could not start `{name}`: {error}"))?;
    match output.status.success() {
        true => Ok(String::from_utf8(output.stdout)?),
        false => {
            Err(format!("`{name}` ended with {}: {}", output.status, String::from_utf8_lossy(&output.stderr))
                .into())
        }
    }
}
