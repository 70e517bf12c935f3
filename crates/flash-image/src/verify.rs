//! Reads an image back like somebody who pulls it: every blob, every layer, and the binary's header.
//!
//! What was just written may already be damaged: a full or failing disk, or a blob of an earlier build. And a
//! dynamically linked binary starts on the machine that built it, but not in an image without libraries.
use std::{
    collections::HashMap,
    fs::File,
    io::{self, BufReader, Read, Seek as _},
};

use flate2::bufread::GzDecoder;
use oci_spec::image::{Descriptor, ImageConfiguration, ImageManifest};

use super::{Image, Layout, LayoutError, Linkage, elf::Elf, hashed::Hashed, layer::Layer};

/// Why an image is invalid.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the message of each variant says what it is")]
pub enum VerifyError {
    #[error(transparent)]
    Layout(#[from] LayoutError),
    #[error("the image `{image}` is incomplete: {reason}")]
    NotWhole { image: String, reason: String },
    #[error("the image `{image}` has no executable {path}")]
    NoBinary { image: String, path: String },
    #[error("{path} of the image `{image}` is not a 64-bit Linux binary")]
    NotElf { image: String, path: String, source: object::Error },
    #[error("{path} of the image `{image}` is for {found}, but the image is for {wanted}")]
    OtherMachine { image: String, path: String, found: String, wanted: String },
    #[error("{path} is not static: it needs {needs}, and {lack}")]
    NotStatic {
        path: String,
        needs: String,
        /// Why the image may lack them.
        lack: String,
    },
}

/// Verifies the images of one build; shared parts are read once.
#[derive(Debug)]
pub struct Verifier {
    layout: Layout,
    /// Blobs that match their digests.
    sound: HashMap<String, Option<Head>>,
}

/// The binary in a layer.
#[derive(Debug, Clone)]
struct Head {
    path: String,
    executable: bool,
    /// Its header, if it could be read.
    elf: Result<Elf, object::Error>,
}

impl Verifier {
    /// For the images of this layout.
    pub fn new(layout: &Layout) -> Self {
        Self { layout: layout.clone(), sound: HashMap::new() }
    }

    /// Reads the whole image.
    ///
    /// # Errors
    /// When something is missing, damaged, or would not start. A damaged layer is removed, so that the next build
    /// makes it again.
    pub fn verify(&mut self, image: &Image) -> Result<(), VerifyError> {
        let not_whole = |reason: &str| {
            let (image, reason) = (image.name.clone(), reason.to_owned());
            Err(VerifyError::NotWhole { image, reason })
        };
        let manifest: ImageManifest = self.layout.read_json(&image.manifest)?;
        let config: ImageConfiguration = self.layout.read_json(manifest.config())?;
        let ours = image.layers.iter().map(|layer| &layer.descriptor);
        if !manifest.layers().iter().eq(image.base_layers.iter().chain(ours)) {
            return not_whole("its manifest lists other layers than it was made from");
        }
        let diff_ids = config.rootfs().diff_ids();
        let above = diff_ids.get(image.base_layers.len()..).unwrap_or_default();
        if diff_ids.len() != manifest.layers().len()
            || !above.iter().eq(image
                .layers
                .iter()
                .map(|layer| layer.diff_id.to_string())
                .collect::<Vec<_>>()
                .iter())
        {
            return not_whole("its config lists other layers than its manifest");
        }
        for layer in &image.base_layers {
            self.check_blob(layer)?;
        }
        let entrypoint = config.config().as_ref().and_then(|config| config.entrypoint().as_ref()?.first());
        let Some(binary) = entrypoint.and_then(|entrypoint| entrypoint.strip_prefix('/')) else {
            return not_whole("its config names no binary to start");
        };
        let mut head = None;
        for layer in &image.layers {
            head = self.check_layer(layer, binary)?.or(head);
        }
        self.check_binary(image, &config, binary, head)
    }

    /// A layer of a base: only its digest is checked.
    fn check_blob(&mut self, blob: &Descriptor) -> Result<(), LayoutError> {
        if self.sound.contains_key(&blob.digest().to_string()) {
            return Ok(());
        }
        let path = self.layout.blob(blob.digest());
        let mut read = Hashed::new(File::open(&path).map_err(|error| self.unreadable(blob, error))?);
        io::copy(&mut read, &mut io::sink()).map_err(|error| self.unreadable(blob, error))?;
        self.compare(blob, read)?;
        self.sound.insert(blob.digest().to_string(), None);
        Ok(())
    }

    /// A layer of ours, unpacked; and the binary, if it is in it.
    fn check_layer(&mut self, layer: &Layer, binary: &str) -> Result<Option<Head>, LayoutError> {
        let blob = &layer.descriptor;
        if let Some(head) = self.sound.get(&blob.digest().to_string()) {
            return Ok(head.clone().filter(|head| head.path == binary));
        }
        let unreadable = |error| self.unreadable(blob, error);
        let file = File::open(self.layout.blob(blob.digest())).map_err(unreadable)?;
        let gzip = GzDecoder::new(BufReader::with_capacity(1 << 16, Hashed::new(file)));
        let mut tar = tar::Archive::new(Hashed::new(gzip));
        let head = find(&mut tar, binary);
        // Read both to the end, whatever was found: digests cover everything.
        let mut tar = tar.into_inner();
        let drained = io::copy(&mut tar, &mut io::sink());
        let (gzip, diff_id, unpacked) = tar.finish();
        let mut file = gzip.into_inner().into_inner();
        io::copy(&mut file, &mut io::sink()).map_err(unreadable)?;
        self.compare(blob, file)?;
        let head = head.and_then(|head| drained.map(|_| head)).map_err(unreadable)?;
        if diff_id != layer.diff_id || unpacked != layer.unpacked {
            return Err(self.damaged(blob, "its unpacked content is not what it was made from"));
        }
        self.sound.insert(blob.digest().to_string(), head.clone());
        Ok(head)
    }

    fn compare(&self, blob: &Descriptor, read: Hashed<File>) -> Result<(), LayoutError> {
        let (_, digest, size) = read.finish();
        if size != blob.size() {
            return Err(self.damaged(blob, &format!("it has {size} of {} bytes", blob.size())));
        }
        match digest == *blob.digest() {
            true => Ok(()),
            false => Err(self.damaged(blob, &format!("its digest is {digest}"))),
        }
    }

    fn check_binary(
        &self,
        image: &Image,
        config: &ImageConfiguration,
        binary: &str,
        head: Option<Head>,
    ) -> Result<(), VerifyError> {
        let (name, path) = (image.name.clone(), format!("/{binary}"));
        let head = match head {
            Some(head) if head.executable => head,
            _ => return Err(VerifyError::NoBinary { image: name, path }),
        };
        let elf = match head.elf {
            Ok(elf) => elf,
            Err(source) => return Err(VerifyError::NotElf { image: name, path, source }),
        };
        let wanted = config.architecture();
        if elf.machine.as_ref() != Some(wanted) {
            let found =
                elf.machine.as_ref().map_or_else(|| "another machine".to_owned(), ToString::to_string);
            return Err(VerifyError::OtherMachine { image: name, path, found, wanted: wanted.to_string() });
        }
        if elf.is_static() {
            return Ok(());
        }
        let lack = match (image.base_layers.is_empty(), image.linkage) {
            // Without a base there is no loader and no library.
            (true, _) => format!("the image `{name}` contains only the app"),
            (false, Linkage::Static) => {
                format!(
                    "the image `{name}` has its base for other programs: it may lack them, or have others"
                )
            }
            (false, Linkage::Dynamic) => return Ok(()),
        };
        let needs = elf.interpreter.iter().chain(&elf.libraries).cloned().collect::<Vec<_>>().join(", ");
        Err(VerifyError::NotStatic { path, needs, lack })
    }

    fn unreadable(&self, blob: &Descriptor, source: io::Error) -> LayoutError {
        match source.kind() {
            // The errors of gzip and tar for invalid bytes.
            io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => {
                self.damaged(blob, &source.to_string())
            }
            _ => LayoutError::Read { path: self.layout.blob(blob.digest()), source },
        }
    }

    /// Removed, because an existing blob is not written again.
    fn damaged(&self, blob: &Descriptor, reason: &str) -> LayoutError {
        let path = self.layout.blob(blob.digest());
        // If it cannot be removed, the next build finds it again.
        let _ = std::fs::remove_file(&path);
        LayoutError::Damaged { path, reason: format!("{reason}; it was removed, build again") }
    }
}

/// The binary's header, if this layer has it.
fn find<R: Read>(tar: &mut tar::Archive<R>, binary: &str) -> io::Result<Option<Head>> {
    let mut found = None;
    for entry in tar.entries()? {
        let mut entry = entry?;
        if *entry.path_bytes() != *binary.as_bytes() {
            continue;
        }
        let executable = entry.header().entry_type().is_file() && entry.header().mode()? & 0o111 == 0o111;
        // The header points to places all over the binary; a file needs no memory.
        let mut file = tempfile::tempfile()?;
        io::copy(&mut entry, &mut file)?;
        file.rewind()?;
        found = Some(Head { path: binary.to_owned(), executable, elf: Elf::read(file) });
    }
    Ok(found)
}

#[cfg(any(test, fuzzing))]
flash_test_support::fuzz_target!("tar_reader", |data| {
    let _ = find(&mut tar::Archive::new(data), "app");
});
