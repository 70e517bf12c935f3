use std::{path::Path, process::Command};

use tempfile::TempDir;

use super::*;

const HEADER: &str = "/* see cuBLAS,\n cuFFT */\n#define cuMemAlloc cuMemAlloc_v2 // as cuOther\n\
    #define cuMemcpy __CUDA_API_PTDS(cuMemcpy)\n#define cuMemcpyAsync __CUDA_API_PTSZ(cuMemcpyAsync)\n\
    typedef unsigned cuuint32_t; typedef int CUdevice;\n\
    CUresult CUDAAPI cuGetErrorString(CUresult error, const char **pStr);\n\
    CUresult CUDAAPI cuInit(unsigned int Flags);\nCUresult CUDAAPI cuMemAlloc(CUdeviceptr *p, size_t n);\n";

#[test]
fn the_functions_are_those_that_the_header_declares_in_all_versions() {
    let functions: Vec<String> = functions_of(HEADER).into_iter().collect();
    let expected = [
        "cuGetErrorString",
        "cuInit",
        "cuMemAlloc",
        "cuMemAlloc_v2",
        "cuMemcpy",
        "cuMemcpyAsync",
        "cuMemcpyAsync_ptsz",
        "cuMemcpy_ptds",
        "cuProfilerInitialize",
        "cuProfilerStart",
        "cuProfilerStop",
    ];
    assert_eq!(functions, expected);
    assert!(functions_of("int main(void);").is_empty());
}

const MAIN: &str = r#"
int cuInit(unsigned); int cuMemAlloc_v2(void **, unsigned long); int cuGetErrorString(int, const char **);
int printf(const char *, ...);
int main(void) {
    void *memory = 0;
    const char *words = "";
    int first = cuInit(7);
    int second = cuMemAlloc_v2(&memory, 0x123456789abc);
    cuGetErrorString(first, &words);
    printf("%d %d %lx %s", first, second, (unsigned long)memory, words);
}
"#;

/// A program that calls the driver like candle does, linked with `-lcuda` from the directory.
fn program(directory: &Path) -> PathBuf {
    std::fs::write(directory.join("cuda.h"), HEADER).unwrap();
    make(directory, directory).unwrap();
    std::fs::write(directory.join("main.c"), MAIN).unwrap();
    let program = directory.join("program");
    let mut cc = Command::new("cc");
    cc.arg("-o").arg(&program).arg(directory.join("main.c")).arg("-L").arg(directory).arg("-lcuda");
    compile("linking", &mut cc).unwrap();
    program
}

fn said(program: &Path, libraries: &Path) -> String {
    let output = Command::new(program).env("LD_LIBRARY_PATH", libraries).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_program_starts_without_a_driver_and_tells_why_there_is_none() {
    let directory = TempDir::new().unwrap();
    let program = program(directory.path());
    let libraries = directory.path().join("libraries");
    std::fs::create_dir(&libraries).unwrap();
    // Even on a machine with a driver, the loader finds this one.
    std::fs::write(libraries.join("libcuda.so.1"), "").unwrap();
    let said = said(&program, &libraries);
    assert!(said.starts_with("100 100 0 ") && said.contains("libcuda.so.1: file too short"), "{said}");
}

#[test]
fn a_program_uses_the_driver_that_is_there_as_far_as_it_goes() {
    let directory = TempDir::new().unwrap();
    let program = program(directory.path());
    let libraries = directory.path().join("libraries");
    std::fs::create_dir(&libraries).unwrap();
    let driver = |source: &str| {
        std::fs::write(directory.path().join("real.c"), source).unwrap();
        let mut cc = Command::new("cc");
        cc.args(["-shared", "-fPIC", "-Wl,-soname,libcuda.so.1", "-o"]).arg(libraries.join("libcuda.so.1"));
        compile("the driver", cc.arg(directory.path().join("real.c"))).unwrap();
    };
    let older = "int cuInit(unsigned flags) { return flags == 7 ? 0 : 1; }\n";
    driver(older);
    assert_eq!(said(&program, &libraries), "0 500 0 ", "CUDA_ERROR_NOT_FOUND from what it lacks");
    driver(&format!(
        "{older}int cuMemAlloc_v2(void **p, unsigned long n) {{ *p = (void *)(n + 1); return 0; }}\n"
    ));
    assert_eq!(said(&program, &libraries), "0 0 123456789abd ", "arguments arrive whole");
}

#[test]
fn the_archive_is_the_same_each_time() {
    let bytes = || {
        let directory = TempDir::new().unwrap();
        std::fs::write(directory.path().join("cuda.h"), HEADER).unwrap();
        make(directory.path(), directory.path()).unwrap();
        let left: Vec<_> =
            std::fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left.len(), 2, "the header and the archive: {left:?}");
        std::fs::read(directory.path().join(ARCHIVE)).unwrap()
    };
    assert_eq!(bytes(), bytes());
}

#[test]
fn a_header_without_functions_is_refused() {
    let directory = TempDir::new().unwrap();
    std::fs::write(directory.path().join("cuda.h"), "").unwrap();
    let error = make(directory.path(), directory.path()).unwrap_err();
    assert!(error.to_string().contains("cuda.h declares no driver functions"), "{error}");
    let error = make(&directory.path().join("nowhere"), directory.path()).unwrap_err();
    assert!(matches!(error, CudaError::Read { .. }), "{error}");
}
