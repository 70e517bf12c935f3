use std::collections::HashMap;

use tempfile::TempDir;

use super::{super::Search, *};
use crate::builder::cuda::home::tests::toolkit;

fn kernels(list: &[&str]) -> Kernels {
    Kernels::new(list.iter().map(|text| text.parse().unwrap())).unwrap()
}

fn open(root: &Path) -> CudaHome {
    CudaHome::find(&Search { configured: Some(root.to_owned()), variable: &|_| None }).unwrap()
}

/// A toolkit whose compiler writes its arguments to a file.
fn home(directory: &TempDir) -> CudaHome {
    let root = directory.path().join("toolkit");
    toolkit(&root, "13.0", "sm_80\\nsm_89\\nsm_90\\n", "lib");
    std::fs::write(root.join("include/cuda.h"), "CUresult CUDAAPI cuInit(unsigned int Flags);\n").unwrap();
    let nvcc = root.join("bin/nvcc");
    let script = std::fs::read_to_string(&nvcc).unwrap();
    let compiling = "*) for word do [ \"$last\" = -o ] && out=$word; last=$word; done; echo \"$@\" >> \"${0%/bin/nvcc}/calls\"; : > \"$out\" ;;";
    std::fs::write(&nvcc, script.replace("*) : ;;", compiling)).unwrap();
    for library in ["libcudart.so.13", "libcudnn.so", "libcudnn.so.9"] {
        std::fs::write(root.join("lib").join(library), "").unwrap();
    }
    open(&root)
}

#[test]
fn cargo_is_given_one_toolkit_and_one_number() {
    let directory = TempDir::new().unwrap();
    let home = home(&directory);
    let toolchain = home.toolchain(&kernels(&["9.0", "8.0"]), directory.path()).unwrap();
    let root = directory.path().join("cuda13.0-sm80-90");
    let environment: HashMap<String, OsString> = toolchain.environment().into_iter().collect();
    for variable in HOME_VARIABLES {
        assert_eq!(environment[variable], root);
    }
    assert_eq!(environment["CUDA_COMPUTE_CAP"], "80");
    assert_eq!(environment["NVCC"], root.join("bin/nvcc"));
    assert_eq!(environment["CARGO_TARGET_DIR"], root.join("target"));
    let path = std::env::split_paths(&environment["PATH"]).next();
    assert_eq!(path, Some(root.join("bin")), "its compiler before any other");
}

#[test]
fn linkers_find_the_archives_of_driver_and_runtime_and_the_other_libraries() {
    let directory = TempDir::new().unwrap();
    let toolchain = home(&directory).toolchain(&kernels(&["8.9"]), directory.path()).unwrap();
    let mut names: Vec<String> = std::fs::read_dir(toolchain.libraries())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    let expected = [
        "libcublas.so",
        "libcublas.so.13",
        "libcublasLt.so",
        "libcublasLt.so.13",
        "libcuda.a",
        "libcudart.a",
        "libcudart.so.13",
        "libcudart_static.a",
        "libcudnn.so",
        "libcudnn.so.9",
        "libcurand.so",
        "libcurand.so.10",
        "libnvrtc.so",
        "libnvrtc.so.13",
    ];
    assert_eq!(names, expected);
    let root = &toolchain.root;
    for (link, target) in
        [("include/cuda.h", "toolkit/include/cuda.h"), ("lib/libcublas.so", "toolkit/lib/libcublas.so.13")]
    {
        let (found, meant) = (root.join(link).canonicalize(), directory.path().join(target).canonicalize());
        assert_eq!(found.unwrap(), meant.unwrap());
    }
}

#[test]
fn it_is_made_once_and_anew_for_another_toolkit() {
    let directory = TempDir::new().unwrap();
    let home = home(&directory);
    let calls = || std::fs::read_to_string(directory.path().join("toolkit/calls")).unwrap();
    let both = kernels(&["8.0", "9.0"]);
    let toolchain = home.toolchain(&both, directory.path()).unwrap();
    let once = calls();
    assert!(once.contains("code=sm_80") && once.contains("code=sm_90"), "the trial is for all: {once}");
    home.toolchain(&both, directory.path()).unwrap();
    assert_eq!(calls(), once, "nothing is done a second time");
    // A partial toolchain, as after an interrupted run, does not count.
    std::fs::remove_file(toolchain.root.join("complete")).unwrap();
    std::fs::remove_file(toolchain.libraries().join("libcuda.a")).unwrap();
    home.toolchain(&both, directory.path()).unwrap();
    assert!(calls().len() > once.len() && toolchain.libraries().join("libcuda.a").is_file());
    // Output compiled with another toolkit cannot be used.
    std::fs::create_dir(toolchain.root.join("target")).unwrap();
    home.toolchain(&both, directory.path()).unwrap();
    assert!(toolchain.root.join("target").is_dir());
    let moved = directory.path().join("moved");
    std::fs::rename(directory.path().join("toolkit"), &moved).unwrap();
    open(&moved).toolchain(&both, directory.path()).unwrap();
    let compiler = std::fs::read_to_string(toolchain.root.join("bin/nvcc")).unwrap();
    assert!(compiler.contains("/moved/bin/nvcc'"), "{compiler}");
    assert!(!toolchain.root.join("target").exists());
}

#[test]
fn a_compiler_that_fails_is_heard_before_the_build() {
    let directory = TempDir::new().unwrap();
    let home = home(&directory);
    let nvcc = directory.path().join("toolkit/bin/nvcc");
    std::fs::write(nvcc, "#!/bin/sh\necho 'host_config.h: unsupported GNU version' >&2; exit 1\n").unwrap();
    let error = home.toolchain(&kernels(&["8.9"]), directory.path()).unwrap_err();
    assert!(error.to_string().contains("unsupported GNU version"), "{error}");
    assert!(error.hint().contains("build-essential"), "{}", error.hint());
    assert!(!directory.path().join("cuda13.0-sm89/complete").exists());
}

#[test]
fn gpus_that_the_toolkit_does_not_know_are_refused_before_anything_is_made() {
    let directory = TempDir::new().unwrap();
    let home = home(&directory);
    let error = home.toolchain(&kernels(&["8.9", "12.0"]), directory.path()).unwrap_err();
    assert!(matches!(error, CudaError::Capabilities { .. }), "{error}");
    assert!(!directory.path().join("cuda13.0-sm89-120").exists());
}

/// With a real toolkit, set by `cargo xtask cuda-build`.
#[test]
fn a_real_toolkit_compiles_for_a_list() {
    let Some(root) = std::env::var_os("FLASH_TEST_CUDA_HOME") else { return };
    let directory = TempDir::new().unwrap();
    let home = open(Path::new(&root));
    let toolchain = home.toolchain(&kernels(&["8.0", "9.0", "12.0"]), directory.path()).unwrap();
    let kernel = directory.path().join("kernel.cu");
    std::fs::write(&kernel, "extern \"C\" __global__ void one(int *p) { *p = 1; }\n").unwrap();
    let nvcc = |arguments: &[&str], out: &str| {
        let out = directory.path().join(out);
        let mut nvcc = Command::new(toolchain.root.join("bin/nvcc"));
        compile("a kernel", nvcc.args(arguments).arg("-o").arg(&out).arg(&kernel)).unwrap();
        std::fs::read(out).unwrap()
    };
    // Called like candle's build scripts do with their one number.
    let one = "-gencode=arch=compute_80,code=sm_80";
    let ptx = String::from_utf8(nvcc(&[one, "--ptx"], "kernel.ptx")).unwrap();
    assert!(ptx.contains(".target sm_80\n"), "{ptx}");
    let object = nvcc(&[one, "-c"], "kernel.o");
    let holds = |text: &str| object.windows(text.len()).any(|window| window == text.as_bytes());
    for machine in ["sm_80", "sm_90", "sm_120"] {
        assert!(holds(machine), "{machine}");
    }
}
