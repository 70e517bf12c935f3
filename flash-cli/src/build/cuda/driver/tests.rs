use std::{path::Path, process::Command};

use tempfile::TempDir;

use super::*;

const HEADER: &str = "/* see cuBLAS,\n cuFFT */\n#define cuMemAlloc cuMemAlloc_v2 // as cuOther\n\
    #define cuMemcpy __CUDA_API_PTDS(cuMemcpy)\n#define cuMemcpyAsync __CUDA_API_PTSZ(cuMemcpyAsync)\n\
    typedef unsigned cuuint32_t; typedef int CUdevice;\n\
    CUresult CUDAAPI cuInit(unsigned int Flags);\nCUresult CUDAAPI cuMemAlloc(CUdeviceptr *p, size_t n);\n";

#[test]
fn the_functions_are_those_that_the_header_declares_in_all_versions() {
    let functions: Vec<String> = functions_of(HEADER).into_iter().collect();
    let expected = [
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

/// A program that asks the driver as candle does, linked by `-lcuda` in the directory.
fn program(directory: &Path) -> PathBuf {
    std::fs::write(directory.join("cuda.h"), HEADER).unwrap();
    make(directory, directory).unwrap();
    let source = "int cuInit(unsigned); int cuMemAlloc_v2(void **, unsigned long); int printf(const char *, ...);\n\
                  int main(void) { void *p = 0; int first = cuInit(7);\n\
                  int second = cuMemAlloc_v2(&p, 0x123456789abc);\n\
                  printf(\"%d %d %lx\", first, second, (unsigned long)p); }\n";
    std::fs::write(directory.join("main.c"), source).unwrap();
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
fn a_program_starts_without_a_driver_and_uses_one_that_is_there() {
    let directory = TempDir::new().unwrap();
    let program = program(directory.path());
    let none = directory.path().join("none");
    std::fs::create_dir(&none).unwrap();
    // A machine with a driver is another case than the one meant here.
    if !Command::new("ldconfig")
        .arg("-p")
        .output()
        .is_ok_and(|list| String::from_utf8_lossy(&list.stdout).contains("libcuda.so.1"))
    {
        assert_eq!(said(&program, &none), "100 100 0", "CUDA_ERROR_NO_DEVICE from each");
    }
    // An older driver, without one of the functions.
    let source = "int cuInit(unsigned flags) { return flags == 7 ? 0 : 1; }\n";
    let driver = |source: &str| {
        std::fs::write(directory.path().join("real.c"), source).unwrap();
        let mut cc = Command::new("cc");
        cc.args(["-shared", "-fPIC", "-Wl,-soname,libcuda.so.1", "-o"]).arg(none.join("libcuda.so.1"));
        compile("the driver", cc.arg(directory.path().join("real.c"))).unwrap();
    };
    driver(source);
    assert_eq!(said(&program, &none), "0 500 0", "CUDA_ERROR_NOT_FOUND from what it lacks");
    let newer = format!(
        "{source}int cuMemAlloc_v2(void **p, unsigned long n) {{ *p = (void *)(n + 1); return 0; }}\n"
    );
    driver(&newer);
    assert_eq!(said(&program, &none), "0 0 123456789abd", "arguments arrive whole");
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
    assert!(error.to_string().contains("cuda.h declares no function"), "{error}");
    let error = make(&directory.path().join("nowhere"), directory.path()).unwrap_err();
    assert!(matches!(error, CudaError::Read { .. }), "{error}");
}
