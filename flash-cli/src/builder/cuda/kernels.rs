//! Which code is compiled for which GPUs.
//!
//! candle has two kinds of kernels, which reach other GPUs in two ways:
//!
//! - most are *PTX*, which the driver compiles when a worker starts, for its own GPU or a later one: those for the
//!   lowest capability work on all;
//! - those for quantized models and mixtures of experts are *machine code*, which runs on GPUs of its own
//!   generation (the major number) from its capability on, and on no other.
//!
//! Hence the rule: **PTX for the lowest capability in the list; machine code for the lowest of each generation in
//! it.** A list of one generation, as for every pool, needs one number, which candle's build scripts read. For
//! longer lists, the compiler they call is a script that compiles for the list, because they know only one number.
//! It also drops what they add from 9.0 on: `sm_90a` is only for 9.0, and its PTX for no other.
//!
//! Worker types with equal lists share a build. Those with different lists do not: the lowest capability decides
//! what a kernel may use (fp8 from 8.9 on), so a merged list could lose features that one of them needs.
use std::path::Path;

use flash_protocol::catalogue::ComputeCapability;

use super::CudaError;

/// The first capability for which build scripts request code for exactly that GPU.
const EXACT_FROM: u8 = 9;

/// The capabilities to compile for. Sorted, without duplicates, never empty.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Kernels {
    capabilities: Vec<ComputeCapability>,
}

impl Kernels {
    /// For GPUs of these capabilities.
    ///
    /// # Errors
    /// When the list is empty.
    pub(crate) fn new(capabilities: impl IntoIterator<Item = ComputeCapability>) -> Result<Self, CudaError> {
        let mut capabilities: Vec<_> = capabilities.into_iter().collect();
        capabilities.sort_unstable();
        capabilities.dedup();
        match capabilities.is_empty() {
            true => Err(CudaError::NoCapabilities),
            false => Ok(Self { capabilities }),
        }
    }

    /// The capabilities of the GPUs.
    pub(crate) fn capabilities(&self) -> &[ComputeCapability] {
        &self.capabilities
    }

    /// The capability for PTX, and the one number for build scripts.
    pub(super) fn lowest(&self) -> ComputeCapability {
        self.capabilities[0]
    }

    /// The capabilities for machine code: the lowest of each generation.
    pub(super) fn machine_code(&self) -> Vec<ComputeCapability> {
        let mut lowest = self.capabilities.clone();
        lowest.dedup_by_key(|capability| capability.major());
        lowest
    }

    /// Whether build scripts need more than one number.
    fn needs_list(&self) -> bool {
        let is_exact = self.capabilities.iter().any(|capability| capability.major() >= EXACT_FROM);
        self.machine_code().len() > 1 || (is_exact && self.capabilities.len() > 1)
    }

    /// A name for a build with these: equal for equal lists, usable as a file name.
    pub(crate) fn name(&self) -> String {
        let numbers: Vec<String> =
            self.capabilities.iter().map(|capability| capability.number().to_string()).collect();
        format!("sm{}", numbers.join("-"))
    }

    /// The script that build scripts call as `nvcc`.
    pub(super) fn compiler_script(&self, nvcc: &Path) -> String {
        let nvcc = quoted(&nvcc.to_string_lossy());
        if !self.needs_list() {
            return format!("#!/bin/sh\nexec {nvcc} \"$@\"\n");
        }
        let code = |capability: ComputeCapability| {
            let number = capability.number();
            format!("-gencode=arch=compute_{number},code=sm_{number}")
        };
        let machine_code: Vec<String> = self.machine_code().into_iter().map(code).collect();
        COMPILE_FOR_LIST
            .replace("@NVCC@", &nvcc)
            .replace("@PTX@", &code(self.lowest()))
            .replace("@MACHINE_CODE@", &machine_code.join(" "))
    }
}

/// An explicit GPU is replaced by the list; a call without one (a version, an archive) is passed on.
const COMPILE_FOR_LIST: &str = r#"#!/bin/sh
gpu= ptx=
for argument do
    shift
    case $argument in
        -gencode=* | --generate-code=* | -arch=* | --gpu-architecture=* | -code=* | --gpu-code=*) gpu=1; continue ;;
        -ptx | --ptx) ptx=1 ;;
    esac
    set -- "$@" "$argument"
done
if [ -z "$gpu" ]; then exec @NVCC@ "$@"; fi
if [ -n "$ptx" ]; then exec @NVCC@ @PTX@ "$@"; fi
exec @NVCC@ @MACHINE_CODE@ "$@"
"#;

fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn kernels(list: &[&str]) -> Kernels {
        Kernels::new(list.iter().map(|text| text.parse().unwrap())).unwrap()
    }

    fn texts(capabilities: &[ComputeCapability]) -> Vec<String> {
        capabilities.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn ptx_is_for_the_lowest_and_machine_code_for_each_generation() {
        let mixed = kernels(&["12.0", "8.9", "8.6", "9.0", "8.9"]);
        assert_eq!(texts(mixed.capabilities()), ["8.6", "8.9", "9.0", "12.0"]);
        assert_eq!(mixed.lowest().to_string(), "8.6");
        assert_eq!(texts(&mixed.machine_code()), ["8.6", "9.0", "12.0"]);
        assert_eq!(mixed.name(), "sm86-89-90-120");
        assert!(matches!(Kernels::new([]), Err(CudaError::NoCapabilities)));
    }

    #[test]
    fn one_number_does_where_it_means_the_whole_list() {
        for enough in [&["8.9"][..], &["8.6", "8.9"], &["9.0"], &["12.0"]] {
            assert!(!kernels(enough).needs_list(), "{enough:?}");
        }
        // Two generations; and one for which a build script would request code only for 12.0.
        for short in [&["8.0", "9.0"][..], &["9.0", "10.0"], &["12.0", "12.1"]] {
            assert!(kernels(short).needs_list(), "{short:?}");
        }
    }

    /// How the script changes a build script's call: here `nvcc` is `echo`.
    fn called(kernels: &Kernels, arguments: &[&str]) -> String {
        let directory = tempfile::TempDir::new().unwrap();
        let script = directory.path().join("it's nvcc");
        let echo = directory.path().join("the compiler");
        std::os::unix::fs::symlink("/bin/echo", &echo).unwrap();
        std::fs::write(&script, kernels.compiler_script(&echo)).unwrap();
        let output = Command::new("/bin/sh").arg(&script).args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
    }

    #[test]
    fn a_build_script_that_knows_one_gpu_compiles_for_all() {
        let list = kernels(&["8.0", "9.0"]);
        let both = "-gencode=arch=compute_80,code=sm_80 -gencode=arch=compute_90,code=sm_90";
        let object = ["-gencode=arch=compute_80,code=sm_80", "-c", "-o", "a b.o", "-O3", "k.cu"];
        assert_eq!(called(&list, &object), format!("{both} -c -o a b.o -O3 k.cu"));
        assert_eq!(called(&list, &["--gpu-architecture=sm_80", "-c", "k.cu"]), format!("{both} -c k.cu"));
        let ptx = ["-gencode=arch=compute_80,code=sm_80", "--ptx", "k.cu"];
        assert_eq!(called(&list, &ptx), "-gencode=arch=compute_80,code=sm_80 --ptx k.cu");
        assert_eq!(called(&list, &["--lib", "-o", "k.a", "k.o"]), "--lib -o k.a k.o");
        assert_eq!(called(&list, &["--list-gpu-code"]), "--list-gpu-code");
        // Code only for 9.0 becomes code that 10.0 can compile.
        let hopper = kernels(&["9.0", "10.0"]);
        let ptx = ["-gencode=arch=compute_90a,code=sm_90a", "--ptx", "k.cu"];
        assert_eq!(called(&hopper, &ptx), "-gencode=arch=compute_90,code=sm_90 --ptx k.cu");
    }

    #[test]
    fn a_list_of_one_generation_leaves_the_call_as_it_is() {
        let call = ["-gencode=arch=compute_86,code=sm_86", "--ptx", "k.cu"];
        assert_eq!(called(&kernels(&["8.6", "8.9"]), &call), call.join(" "));
    }
}
