use super::*;

fn verify(project: &Project, image: &Image) -> Result<(), VerifyError> {
    Verifier::new(&project.layout).verify(image)
}

#[test]
fn an_image_of_a_static_binary_is_sound() {
    let project = Project::new();
    let image = project.assemble(&project.running_spec("classify"));
    verify(&project, &image).unwrap();
}

#[test]
fn a_binary_that_needs_libraries_is_refused_by_name_where_there_are_none() {
    let project = Project::new();
    let binary = Binary {
        path: compiled(project.directory.path(), "-crt-static"),
        name: "app".to_owned(),
        linkage: Linkage::Static,
    };
    let spec = ImageSpec { binary, platform: platform(this_machine()), ..project.spec("classify") };
    let error = verify(&project, &project.assemble(&spec)).unwrap_err();
    assert!(matches!(error, VerifyError::NotStatic { .. }), "{error}");
    assert!(error.to_string().starts_with("/app/app is not static: it needs /lib"), "{error}");
    assert!(error.to_string().contains("libc.so"), "{error}");

    let on_a_base = ImageSpec { base: programs::base(&project), ..spec };
    let error = verify(&project, &project.assemble(&on_a_base)).unwrap_err();
    assert!(error.to_string().contains("has its base for other programs"), "{error}");
    let binary = Binary { linkage: Linkage::Dynamic, ..on_a_base.binary.clone() };
    verify(&project, &project.assemble(&ImageSpec { binary, ..on_a_base })).unwrap();
}

#[test]
fn what_would_not_start_on_the_platform_is_refused() {
    let project = Project::new();
    let error = verify(&project, &project.assemble(&project.spec("classify"))).unwrap_err();
    assert!(matches!(error, VerifyError::NotElf { .. }), "{error}");
    let other = if this_machine() == Arch::Amd64 { Arch::ARM64 } else { Arch::Amd64 };
    let spec = ImageSpec { platform: platform(other.clone()), ..project.running_spec("classify") };
    let error = verify(&project, &project.assemble(&spec)).unwrap_err();
    assert!(
        matches!(&error, VerifyError::OtherMachine { wanted, .. } if *wanted == other.to_string()),
        "{error}"
    );
}

#[test]
fn a_damaged_layer_is_found_and_made_again_by_the_next_build() {
    let project = Project::new();
    let spec = project.running_spec("classify");
    let image = project.assemble(&spec);
    for layer in 0..3 {
        let blob = project.layout.blob(image.layers[layer].descriptor.digest());
        let sound = std::fs::read(&blob).unwrap();
        let mut flipped = sound.clone();
        let middle = flipped.len() / 2;
        flipped[middle] ^= 1;
        let cut = sound[..sound.len() - 1].to_vec();
        let longer = [sound.as_slice(), b"more"].concat();
        for damaged in [flipped, cut, longer, Vec::new()] {
            std::fs::write(&blob, &damaged).unwrap();
            let error = verify(&project, &image).unwrap_err();
            assert!(matches!(error, VerifyError::Layout(LayoutError::Damaged { .. })), "{error}");
            assert!(error.to_string().contains("build again"), "{error}");
            assert_eq!(project.assemble(&spec).manifest, image.manifest);
            verify(&project, &image).unwrap();
        }
        std::fs::remove_file(&blob).unwrap();
        let error = verify(&project, &image).unwrap_err();
        assert!(matches!(error, VerifyError::Layout(LayoutError::Read { .. })), "{error}");
        project.assemble(&spec);
    }
}

#[test]
fn a_layer_that_is_not_what_the_config_says_is_found() {
    let project = Project::new();
    let mut image = project.assemble(&project.running_spec("classify"));
    image.layers.swap(0, 1);
    let error = verify(&project, &image).unwrap_err();
    assert!(matches!(error, VerifyError::NotWhole { .. }), "{error}");
}
