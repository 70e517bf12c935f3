//! From a photo's file to what the network takes.
use candle_core::{Device, Tensor};
use flash_sdk::{Error, Result};
use image::{DynamicImage, ImageReader, Limits, imageops::FilterType};

use crate::network::SIDE;

/// Around the square that is looked at, the photo has a margin: 32 of 256 pixels, as when the model was trained.
const MARGIN: u32 = 32;

/// A photo may have this many pixels per side: a small file can hold a huge picture.
const MAX_SIDE: u32 = 8_192;

/// The middle of a photo: three channels of `SIDE` × `SIDE` numbers around 0.
///
/// # Errors
/// 415 if the file is no JPEG or PNG, or has too many pixels.
pub(crate) fn read(file: &[u8]) -> Result<Tensor> {
    let photo = decode(file).map_err(|error| {
        Error::status(
            415,
            format!("a JPEG or PNG of at most {MAX_SIDE} pixels per side is expected: {error}"),
        )
    })?;
    let shorter = photo.width().min(photo.height());
    let square = (u64::from(shorter) * SIDE as u64 / (SIDE as u64 + u64::from(MARGIN))).max(1) as u32;
    let (left, top) = ((photo.width() - square) / 2, (photo.height() - square) / 2);
    let middle = photo.crop_imm(left, top, square, square);
    let pixels = middle.resize_exact(SIDE as u32, SIDE as u32, FilterType::CatmullRom).into_rgb8().into_raw();
    let values = Tensor::from_vec(pixels, (SIDE, SIDE, 3), &Device::Cpu)
        .and_then(|pixels| pixels.permute((2, 0, 1))?.to_dtype(candle_core::DType::F32))
        .and_then(|values| ((values - 127.0)? / 128.0)?.contiguous());
    Ok(values?)
}

fn decode(file: &[u8]) -> image::ImageResult<DynamicImage> {
    let mut reader = ImageReader::new(std::io::Cursor::new(file)).with_guessed_format()?;
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    reader.limits(limits);
    reader.decode()
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use image::{ImageFormat, RgbImage};

    use super::*;

    fn png(width: u32, height: u32, colour: [u8; 3]) -> Vec<u8> {
        let mut file = Cursor::new(Vec::new());
        let photo = RgbImage::from_pixel(width, height, image::Rgb(colour));
        photo.write_to(&mut file, ImageFormat::Png).unwrap();
        file.into_inner()
    }

    #[test]
    fn a_photo_of_any_size_becomes_a_square_of_numbers_around_zero() {
        for (width, height) in [(1, 1), (300, 20), (20, 300), (640, 480)] {
            let pixels = read(&png(width, height, [255, 127, 0])).unwrap();
            assert_eq!(pixels.dims(), [3, SIDE, SIDE], "{width} × {height}");
            let middle = pixels.narrow(1, SIDE / 2, 1).unwrap().narrow(2, SIDE / 2, 1).unwrap();
            let middle: Vec<f32> = middle.flatten_all().unwrap().to_vec1().unwrap();
            assert_eq!(middle, [1.0, 0.0, -0.9921875], "{width} × {height}");
        }
    }

    #[test]
    fn what_is_no_photo_or_too_large_is_refused_with_415() {
        let cut = &png(64, 64, [1, 2, 3])[..60];
        let wide = png(MAX_SIDE + 1, 1, [0, 0, 0]);
        for file in [&b""[..], b"words", cut, &wide] {
            let error = read(file).unwrap_err();
            assert!(error.message().contains("a JPEG or PNG of at most 8192 pixels"), "{error}");
        }
    }
}
