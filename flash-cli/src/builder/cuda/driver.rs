//! A stand-in `libcuda` to link with, so that a binary starts without a driver.
//!
//! candle links the driver's library dynamically: such a binary does not even start without the driver, not even to
//! describe itself. The driver comes with the machine, so an image cannot contain it; a stand-in in the image would
//! have to be found after the real one, and the loader has no such order.
//!
//! So the binary gets an archive instead. Each driver function in it jumps through a table, which is filled before
//! `main` from the real library, found as the loader would find it. Without a driver, every function returns
//! `CUDA_ERROR_NO_DEVICE`: candle then returns an error for the device, with the loader's message, and the app uses
//! the CPU or ends. A function that an older driver lacks returns `CUDA_ERROR_NOT_FOUND`; linked dynamically, it
//! too would prevent the binary from starting.
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::Command,
};

use super::{CudaError, compiler::compile};

/// The library to link, under the name that candle uses.
const ARCHIVE: &str = "libcuda.a";

/// Declared in a header that not every toolkit has.
const PROFILER: [&str; 3] = ["cuProfilerInitialize", "cuProfilerStart", "cuProfilerStop"];

/// Makes the archive in `directory`, for the functions declared in the toolkit's header.
pub(super) fn make(include: &Path, directory: &Path) -> Result<(), CudaError> {
    let header = include.join("cuda.h");
    let text = std::fs::read(&header).map_err(|source| CudaError::Read { path: header.clone(), source })?;
    let functions = functions_of(&String::from_utf8_lossy(&text));
    if functions.is_empty() {
        return Err(CudaError::NoDriverFunctions { header });
    }
    let (source, object) = (directory.join("driver.c"), directory.join("driver.o"));
    std::fs::write(&source, source_of(&functions))
        .map_err(|error| CudaError::Write { path: source.clone(), source: error })?;
    let mut cc = Command::new("cc");
    cc.args(["-O2", "-fPIC", "-c", "-o"]).arg(&object).arg(&source);
    compile("compiling the stand-in for the driver", &mut cc)?;
    let mut ar = Command::new("ar");
    // Without times and owners, so that the archive is always the same.
    ar.arg("crsD").arg(directory.join(ARCHIVE)).arg(&object);
    compile("archiving the stand-in for the driver", &mut ar)?;
    for path in [source, object] {
        remove(path)?;
    }
    Ok(())
}

fn remove(path: PathBuf) -> Result<(), CudaError> {
    std::fs::remove_file(&path).map_err(|source| CudaError::Write { path, source })
}

/// Every name that may be a driver function, in all its versions (`cuMemAlloc`, `cuMemAlloc_v2`). An extra name
/// does no harm: the driver does not have it, and nothing calls it.
fn functions_of(header: &str) -> BTreeSet<String> {
    let mut names: BTreeSet<String> = PROFILER.into_iter().map(str::to_owned).collect();
    let code = without_comments(header);
    let mut found = false;
    for (start, _) in code.match_indices("cu") {
        let is_inside = code[..start].chars().next_back().is_some_and(is_of_name);
        let name: String = code[start..].chars().take_while(|char| is_of_name(*char)).collect();
        if !is_inside && name[2..].starts_with(|char: char| char.is_ascii_uppercase()) {
            found = true;
            // The same for per-thread streams: a macro decides which one a program gets.
            for (macro_name, suffix) in [("__CUDA_API_PTDS(", "_ptds"), ("__CUDA_API_PTSZ(", "_ptsz")] {
                if code[..start].ends_with(macro_name) {
                    names.insert(format!("{name}{suffix}"));
                }
            }
            names.insert(name);
        }
    }
    if found { names } else { BTreeSet::new() }
}

fn is_of_name(char: char) -> bool {
    char.is_ascii_alphanumeric() || char == '_'
}

/// Comments name functions of other libraries.
fn without_comments(header: &str) -> String {
    let mut code = String::with_capacity(header.len());
    let mut rest = header;
    while let Some((before, comment)) = rest.split_once("/*") {
        code.push_str(before);
        rest = comment.split_once("*/").map_or("", |(_, after)| after);
    }
    code.push_str(rest);
    code.lines().map(|line| line.split("//").next().unwrap_or(line)).collect::<Vec<_>>().join("\n")
}

/// The archive's only object, in C. Arguments stay where the caller put them, whatever their types: that takes an
/// instruction or two of assembly.
fn source_of(functions: &BTreeSet<String>) -> String {
    let names: String = functions.iter().map(|name| format!("    \"{name}\",\n")).collect();
    let entries: String =
        functions.iter().enumerate().map(|(index, name)| format!("ENTRY({index}, {name})\n")).collect();
    SOURCE
        .replace("@COUNT@", &functions.len().to_string())
        .replace("@NAMES@", &names)
        .replace("@ENTRIES@", &entries)
}

const SOURCE: &str = r#"#include <dlfcn.h>
#include <string.h>

enum { count = @COUNT@, no_device = 100, not_found = 500 };

__attribute__((visibility("hidden"))) void *flash_cuda_driver[count];

static const char *const names[count] = {
@NAMES@};

static int answer_no_device(void) { return no_device; }
static int answer_not_found(void) { return not_found; }

/* What the loader said. Wrappers of the driver ask for the words of an error, and show them to the user. */
static char why_no_driver[512];
static int answer_why(int error, const char **words) {
    *words = error == no_device ? why_no_driver : "no driver found";
    return 0;
}

/* Before all that runs before main: a library's own beginning may ask for devices. */
__attribute__((constructor(101))) static void find_driver(void) {
    void *driver = dlopen("libcuda.so.1", RTLD_LAZY | RTLD_LOCAL);
    if (!driver) strncpy(why_no_driver, dlerror(), sizeof why_no_driver - 1);
    for (int index = 0; index < count; index++) {
        void *function = driver ? dlsym(driver, names[index]) : 0;
        void *otherwise = driver ? (void *)answer_not_found : (void *)answer_no_device;
        if (!driver && !strcmp(names[index], "cuGetErrorString")) otherwise = (void *)answer_why;
        flash_cuda_driver[index] = function ? function : otherwise;
    }
}

#if defined(__x86_64__)
#define JUMP(index) "endbr64\n jmpq *flash_cuda_driver+8*" #index "(%rip)\n"
#elif defined(__aarch64__)
#define JUMP(index) \
    "bti c\n adrp x16, flash_cuda_driver+8*" #index "\n" \
    "ldr x16, [x16, #:lo12:flash_cuda_driver+8*" #index "]\n br x16\n"
#else
#error "CUDA has no driver for this processor"
#endif

#define ENTRY(index, name) \
    __asm__(".text\n.globl " #name "\n.type " #name ", @function\n" #name ":\n" \
            JUMP(index) ".size " #name ", .-" #name "\n");

@ENTRIES@"#;

#[cfg(test)]
#[path = "driver/tests.rs"]
mod tests;
