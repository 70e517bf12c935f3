//! The header of a Linux binary: for which machine it is, and what it needs to start.
use std::io::{Read, Seek};

use object::{
    Endianness,
    elf::{self, FileHeader64},
    read::{
        ReadCache,
        elf::{Dyn as _, FileHeader as _, ProgramHeader as _},
    },
};
use oci_spec::image::Arch;

/// The header of a binary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Elf {
    /// `None`: a machine that we build no images for.
    pub machine: Option<Arch>,
    /// The loader of the binary.
    pub interpreter: Option<String>,
    /// The libraries without which it does not start.
    pub libraries: Vec<String>,
}

impl Elf {
    /// Reads a binary's header. It must be a 64-bit binary.
    ///
    /// # Errors
    /// When it is not such a binary, or is cut off.
    pub(super) fn read(file: impl Read + Seek) -> Result<Self, object::Error> {
        let file = ReadCache::new(file);
        let header = FileHeader64::<Endianness>::parse(&file)?;
        let endian = header.endian()?;
        let machine = match header.e_machine(endian) {
            elf::EM_X86_64 => Some(Arch::Amd64),
            elf::EM_AARCH64 => Some(Arch::ARM64),
            _ => None,
        };
        let mut found = Self { machine, interpreter: None, libraries: Vec::new() };
        let segments = header.program_headers(endian, &file)?;
        for segment in segments {
            if let Some(interpreter) = segment.interpreter(endian, &file)? {
                found.interpreter = Some(String::from_utf8_lossy(interpreter).into_owned());
            }
            let Some(entries) = segment.dynamic(endian, &file)? else { continue };
            let value = |tag| {
                entries.iter().find(|entry| entry.d_tag(endian) == tag).map(|entry| entry.d_val(endian))
            };
            let names = match (value(elf::DT_STRTAB), value(elf::DT_STRSZ)) {
                (Some(address), Some(size)) => segments
                    .iter()
                    .filter(|segment| segment.p_type(endian) == elf::PT_LOAD)
                    .find_map(|segment| segment.data_range(endian, &file, address, size).ok().flatten()),
                _ => None,
            };
            let needed = entries.iter().filter(|entry| entry.d_tag(endian) == elf::DT_NEEDED);
            found.libraries.extend(needed.map(|entry| name(names.unwrap_or_default(), entry.d_val(endian))));
        }
        Ok(found)
    }

    /// Whether it starts without any other file.
    pub(super) fn is_static(&self) -> bool {
        self.interpreter.is_none() && self.libraries.is_empty()
    }
}

fn name(names: &[u8], offset: u64) -> String {
    let name = usize::try_from(offset).ok().and_then(|offset| names.get(offset..));
    let name = name.and_then(|name| name.split(|byte| *byte == 0).next()).unwrap_or_default();
    match name {
        // It needs a library anyway.
        [] => "a library without a name".to_owned(),
        name => String::from_utf8_lossy(name).into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs::File, io::Cursor};

    use super::*;

    #[test]
    fn a_dynamic_binary_names_its_loader_and_its_libraries() {
        // This test binary: cargo links tests dynamically.
        let this = File::open(std::env::current_exe().unwrap()).unwrap();
        let elf = Elf::read(this).unwrap();
        assert!(!elf.is_static());
        assert!(elf.interpreter.as_deref().unwrap().starts_with("/lib"), "{elf:?}");
        assert!(elf.libraries.iter().any(|library| library.starts_with("libc.so")), "{elf:?}");
        let machine = if cfg!(target_arch = "x86_64") { Arch::Amd64 } else { Arch::ARM64 };
        assert_eq!(elf.machine, Some(machine));
    }

    #[test]
    fn what_is_no_binary_is_refused() {
        assert!(Elf::read(Cursor::new(b"#!/bin/sh\nexit 0\n")).is_err());
        assert!(Elf::read(Cursor::new(b"\x7fELF\x02\x01\x01")).is_err());
        assert!(Elf::read(Cursor::new(b"")).is_err());
    }
}
