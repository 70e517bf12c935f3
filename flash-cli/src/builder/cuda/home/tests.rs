use std::{collections::HashMap, os::unix::fs::PermissionsExt as _};

use tempfile::TempDir;

use super::*;

/// A toolkit whose compiler only answers queries.
pub(crate) fn toolkit(root: &Path, version: &str, codes: &str, libraries: &str) {
    for directory in ["bin", "include/crt", libraries] {
        std::fs::create_dir_all(root.join(directory)).unwrap();
    }
    let nvcc = root.join("bin/nvcc");
    let script = format!(
        "#!/bin/sh\ncase $1 in\n--version) echo 'Cuda compilation tools, release {version}, V{version}.88' ;;\n\
         --list-gpu-code) printf '{codes}' ;;\n*) : ;;\nesac\n"
    );
    std::fs::write(&nvcc, script).unwrap();
    std::fs::set_permissions(&nvcc, std::fs::Permissions::from_mode(0o755)).unwrap();
    for header in NEEDED_HEADERS {
        std::fs::write(root.join("include").join(header), "").unwrap();
    }
    for library in
        ["libcublas.so.13", "libcublasLt.so.13", "libcurand.so.10", "libnvrtc.so.13", RUNTIME_ARCHIVE]
    {
        std::fs::write(root.join(libraries).join(library), "").unwrap();
    }
}

fn simple(root: &Path) {
    toolkit(root, "13.0", "sm_80\\nsm_89\\nsm_120\\n", "lib64");
}

fn find(configured: Option<&Path>, variables: &[(&str, &Path)]) -> Result<CudaHome, CudaError> {
    let variables: HashMap<&str, OsString> =
        variables.iter().map(|(name, value)| (*name, value.as_os_str().to_owned())).collect();
    let variable = |name: &str| variables.get(name).cloned();
    CudaHome::find(&Search { configured: configured.map(Path::to_owned), variable: &variable })
}

#[test]
fn a_toolkit_tells_its_version_and_what_it_compiles_for() {
    let directory = TempDir::new().unwrap();
    simple(directory.path());
    let home = find(Some(directory.path()), &[]).unwrap();
    assert_eq!(home.version(), CudaVersion { major: 13, minor: 0 });
    assert_eq!(
        home.capabilities().iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["8.0", "8.9", "12.0"]
    );
    assert!(home.check(&["8.9".parse().unwrap()]).is_ok());
    let error = home.check(&["8.9".parse().unwrap(), "9.0".parse().unwrap()]).unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("CUDA 13.0") && text.contains("capability 9.0;") && text.contains("8.0, 8.9, 12.0"),
        "{text}"
    );
    assert!(error.hint().contains("compute_capabilities"), "{}", error.hint());
}

#[test]
fn the_project_comes_before_variables_and_those_before_the_path() {
    let directory = TempDir::new().unwrap();
    let place = |name: &str| directory.path().canonicalize().unwrap().join(name);
    for name in ["configured", "variable", "second", "path"] {
        simple(&place(name));
    }
    let bin = place("path").join("bin");
    let (variable, second) = (place("variable"), place("second"));
    let all = [("CUDA_PATH", second.as_path()), ("CUDA_HOME", &variable), ("PATH", &bin)];
    assert_eq!(find(Some(&place("configured")), &all).unwrap().root(), place("configured"));
    assert_eq!(find(None, &all).unwrap().root(), variable);
    assert_eq!(find(None, &all[..1]).unwrap().root(), second);
    assert_eq!(find(None, &[("CUDA_HOME", Path::new("")), ("PATH", &bin)]).unwrap().root(), place("path"));
    // The file on PATH is a link into the toolkit.
    let links = place("links");
    std::fs::create_dir(&links).unwrap();
    std::os::unix::fs::symlink(bin.join("nvcc"), links.join("nvcc")).unwrap();
    assert_eq!(find(None, &[("PATH", &links)]).unwrap().root(), place("path"));
}

#[test]
fn what_the_user_names_is_used_or_refused() {
    let directory = TempDir::new().unwrap();
    let (good, empty) = (directory.path().join("good"), directory.path().join("empty"));
    simple(&good);
    std::fs::create_dir(&empty).unwrap();
    let error = find(Some(&empty), &[("CUDA_HOME", &good)]).unwrap_err();
    assert!(error.to_string().starts_with("[build] cuda_home is "), "{error}");
    let error = find(None, &[("CUDA_HOME", &empty), ("CUDA_PATH", &good)]).unwrap_err();
    assert!(
        error.to_string().starts_with("CUDA_HOME is ") && error.to_string().contains("bin/nvcc"),
        "{error}"
    );
    assert!(error.hint().contains("pip install"), "{}", error.hint());
}

#[test]
fn the_wheels_of_a_python_environment_are_a_toolkit() {
    let directory = TempDir::new().unwrap();
    let root = directory.path().join(RECIPE_PLACE).join("lib/python3.12/site-packages/nvidia/cu13");
    toolkit(&root, "13.0", "sm_89\\n", "lib");
    // Found in the recipe's place below the home directory, without configuration.
    if !Path::new(USUAL_PLACE).exists() {
        assert_eq!(find(None, &[("HOME", directory.path())]).unwrap().root(), root);
    }
    assert_eq!(find(Some(&directory.path().join(RECIPE_PLACE)), &[]).unwrap().root(), root);
    assert_eq!(find(Some(&root), &[]).unwrap().root(), root);
}

#[test]
fn a_toolkit_that_is_not_whole_says_what_it_lacks() {
    let directory = TempDir::new().unwrap();
    simple(directory.path());
    std::fs::remove_file(directory.path().join("lib64/libcurand.so.10")).unwrap();
    std::fs::remove_file(directory.path().join("lib64").join(RUNTIME_ARCHIVE)).unwrap();
    std::fs::remove_file(directory.path().join("include/crt/host_config.h")).unwrap();
    let error = find(Some(directory.path()), &[]).unwrap_err();
    let text = error.to_string();
    assert!(text.ends_with("lacks libcurand.so, libcudart_static.a, include/crt/host_config.h"), "{text}");
    assert!(error.hint().contains("cuda-toolkit"), "{}", error.hint());
}

#[test]
fn without_a_toolkit_the_two_ways_to_one_are_told() {
    if Path::new(USUAL_PLACE).exists() {
        return;
    }
    let directory = TempDir::new().unwrap();
    let error = find(None, &[("HOME", directory.path()), ("PATH", directory.path())]).unwrap_err();
    assert!(error.to_string().contains("/usr/local/cuda"), "{error}");
    for way in
        ["python3 -m venv ~/.cache/flash/cuda", "==13.0.*'", "sudo apt-get install -y cuda-toolkit-13-0"]
    {
        assert!(error.hint().contains(way), "{way} in {}", error.hint());
    }
}

#[test]
fn versions_are_read_from_what_compilers_print() {
    let real = "nvcc: NVIDIA (R) Cuda compiler driver\nCopyright (c) 2005-2025 NVIDIA Corporation\n\
                Built on Wed_Aug_20_01:58:59_PM_PDT_2025\nCuda compilation tools, release 13.0, V13.0.88\n";
    assert_eq!(version_of(real), Ok(CudaVersion { major: 13, minor: 0 }));
    assert_eq!(version_of("Segmentation fault\n"), Err("Segmentation fault".to_owned()));
    assert_eq!(version_of(""), Err("it prints nothing".to_owned()));
    assert!(CudaVersion { major: 12, minor: 8 } < CudaVersion { major: 13, minor: 0 });
}

#[test]
fn the_drivers_own_libraries_are_no_part_of_a_toolkit() {
    let directory = TempDir::new().unwrap();
    simple(directory.path());
    for name in ["libcuda.so", "libcuda.so.1", "libnvidia-ml.so.1", "libz.so.1", "libcudnn.so.9"] {
        std::fs::write(directory.path().join("lib64").join(name), "").unwrap();
    }
    let home = find(Some(directory.path()), &[]).unwrap();
    let names: Vec<&str> = home.libraries().map(|(name, _)| name).collect();
    assert!(names.contains(&"libcudnn.so.9") && names.contains(&"libcublas.so.13"), "{names:?}");
    for other in ["libcuda.so", "libcuda.so.1", "libnvidia-ml.so.1", "libz.so.1"] {
        assert!(!names.contains(&other), "{other}");
    }
}
