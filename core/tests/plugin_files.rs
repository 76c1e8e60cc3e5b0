//! Plugin files: those that are used, and every way in which one is refused.

use std::path::{Path, PathBuf};
use std::process::Command;

use raddle::plugin::{
    Description, DiscoverError, Loaded, PluginPolicy, Refusal, Trust, discover, judge_bytes,
    load as load_trusted,
};
use raddle_plugin_api::abi::{ABI_MAJOR, ABI_MINOR, LAYOUT_HASH};

fn load(path: &Path) -> Result<Loaded, Refusal> {
    load_trusted(path, &Trust::default())
}

fn check(path: &Path) -> Result<Description, Refusal> {
    raddle::plugin::check(path, &Trust::default())
}

/// A directory with plugins that `cc` makes.
struct Workshop {
    directory: tempfile::TempDir,
}

impl Workshop {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    fn path(&self, file: &str) -> PathBuf {
        self.directory.path().join(file)
    }

    /// Compiles the test plugin with definitions of the preprocessor.
    fn build(&self, file: &str, definitions: &[&str]) -> PathBuf {
        self.link(file, definitions, &[])
    }

    fn link(&self, file: &str, definitions: &[&str], flags: &[&str]) -> PathBuf {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/plugin");
        let path = self.path(file);
        let mut compiler = Command::new("cc");
        compiler
            .args(["-std=gnu11", "-shared", "-fPIC", "-O1", "-I"])
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugin-api/include"))
            .arg("-o")
            .arg(&path)
            .arg(folder.join("plugin.c"));
        compiler.args(definitions.iter().map(|definition| format!("-D{definition}")));
        compiler.args(flags);
        let output = compiler.output().expect("a C compiler is needed: install gcc or clang");
        assert!(output.status.success(), "{definitions:?}: {}", String::from_utf8_lossy(&output.stderr));
        path
    }

    fn refusal(&self, definitions: &[&str]) -> Refusal {
        load(&self.build("x.so", definitions)).expect_err(&format!("{definitions:?} is refused"))
    }

    fn policy(&self) -> PluginPolicy {
        PluginPolicy {
            path: self.directory.path().to_owned(),
            path_is_given: true,
            ..PluginPolicy::default()
        }
    }
}

fn list(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn a_plugin_in_c_is_loaded_and_described_without_running_its_init() {
    let shop = Workshop::new();
    let marked = shop.path("init-ran");
    let path = shop.build("x.so", &[&format!("INIT_MARK=\"{}\"", marked.display())]);
    let description = check(&path).unwrap();
    assert_eq!(description.name, "bent");
    assert_eq!(description.version.to_string(), "1.2.3");
    assert_eq!(description.registered.nodes, ["bent-node", "bent-input"]);
    assert_eq!(
        description.to_string(),
        "bent 1.2.3: for tests\n  built with  cc\n  abi         1.0\n  nodes       bent-node, bent-input\n  \
         command     show bent\n  init        bent-init"
    );
    assert!(!marked.exists());
    let loaded = load(&path).unwrap();
    assert_eq!(loaded.header().abi_major, 1);
    assert_eq!(loaded.path(), path);
    let (_, name) = judge_bytes(&std::fs::read(&path).unwrap()).unwrap();
    assert_eq!(name.as_deref(), Some("bent"), "the name is read from the file");
}

#[test]
fn every_way_of_linking_is_read() {
    let shop = Workshop::new();
    let ways: &[&[&str]] = &[
        &["-s"],
        &["-Wl,--hash-style=sysv"],
        &["-Wl,--hash-style=gnu"],
        &["-Wl,-z,noseparate-code"],
        &["-Wl,-z,pack-relative-relocs"],
        &["-Wl,-z,norelro,-z,lazy"],
    ];
    for way in ways {
        let path = shop.link("x.so", &[], way);
        let (_, name) = judge_bytes(&std::fs::read(&path).unwrap()).unwrap_or_else(|refusal| {
            panic!("{way:?}: {refusal}");
        });
        assert_eq!(name.as_deref(), Some("bent"), "{way:?}");
        assert_eq!(check(&path).unwrap().name, "bent", "{way:?}");
    }
}

#[test]
fn what_is_wrong_with_the_header_is_told_before_any_code_runs() {
    let shop = Workshop::new();
    let marked = shop.path("constructor-ran");
    let constructor = format!("CONSTRUCTOR_MARK=\"{}\"", marked.display());
    let other_layout = format!("LAYOUT=0x{:x}ull", LAYOUT_HASH ^ 1);
    let here = format!("{ABI_MAJOR}.{ABI_MINOR}");
    let newer = ABI_MINOR + 1;
    let (built_newer, needs_newer) = (format!("ABI_MINOR={newer}"), format!("HOST_ABI=0x1{newer:04x}"));
    let needs_this = format!("HOST_ABI=0x1{ABI_MINOR:04x}");
    let too_new = |there: &str, needed: &str| {
        format!(
            "its ABI version is {there}, it needs {needed}, and this raddle speaks {here}: it is too new;"
        )
    };
    let newer = format!("1.{newer}");
    let cases: &[(&[&str], &str)] = &[
        (&["SYMBOL=OTHER"], "it exports no symbol `RADDLE_PLUGIN`, so it is not a raddle plugin;"),
        (
            &["MAGIC={'r','a','d','d','l','e',0,9}"],
            "its header starts with `raddle\\x00\\t`, not `raddle\\x00\\x01`,",
        ),
        (&["ABI_MAJOR=0"], &format!("its ABI version is 0.0 and this raddle speaks {here}: it is too old;")),
        (&["ABI_MAJOR=2"], &too_new("2.0", "2.0")),
        (&["ABI_MAJOR=2", &needs_this], &too_new("2.0", &here)),
        (&[&built_newer], &too_new(&newer, &newer)),
        (&[&built_newer, &needs_newer], &too_new(&newer, &newer)),
        (&[&needs_newer], &too_new("1.0", &newer)),
        (&["HEADER_SIZE=64"], &format!("its plugin header says 64 bytes and ABI {here} needs at least 120;")),
        (&[&other_layout], "the layout of its packet structs is "),
        (&["PANICS_UNWIND=0"], "it is built with panic=abort (panics-unwind is 0),"),
        (&["SHORT_HEADER"], "its symbol `RADDLE_PLUGIN` is 24 bytes long, not a plugin header of 120 bytes;"),
        (&["CODE_HEADER"], "its symbol `RADDLE_PLUGIN` is not data, not a plugin header of 120 bytes;"),
    ];
    for (definitions, sentence) in cases {
        let definitions: Vec<&str> = definitions.iter().copied().chain([&*constructor]).collect();
        let refusal = shop.refusal(&definitions).to_string();
        assert!(refusal.starts_with(sentence), "{definitions:?}: {refusal}");
        assert!(!marked.exists(), "{definitions:?}: a constructor ran");
    }
    check(&shop.build("x.so", &[&built_newer, &needs_this]))
        .expect("newer, but this raddle has all it needs");
    load(&shop.build("x.so", &[&constructor])).unwrap();
    assert!(marked.exists(), "the mark shows a constructor that runs");
}

#[test]
fn what_is_wrong_with_texts_and_registrations_is_told() {
    let shop = Workshop::new();
    let node_too_short =
        format!("its node 0 says 8 bytes and ABI {ABI_MAJOR}.{ABI_MINOR} needs at least 120;");
    let cases: &[(&str, &str)] = &[
        ("NAME=TEXT(\"Bent\")", "its name is `Bent`; a name is a word of lower-case letters"),
        ("NAME=TEXT(\"\")", "its name is ``; a name"),
        ("NAME=TEXT(\"b\\xff\")", "its name is not UTF-8 text;"),
        ("NAME={(const char *)8,4}", "its name points to memory that cannot be read;"),
        ("NAME={0,4}", "its name points to memory that cannot be read;"),
        ("VERSION=TEXT(\"1.2\")", "its version is `1.2`, which is no semantic version ("),
        ("SUMMARY={\"x\",5000}", "its length of the summary is 5000 and at most 4096 is allowed;"),
        ("CREATE=0", "its function `create` is null where a function is due;"),
        ("NODE_SIZE=8", &node_too_short),
        ("NODE_SIZE=4000", "its size of node 0 is 4000 and at most 120 is allowed;"),
        ("NODE_RUN=0", "its function `run` of node 0 is null where a function is due;"),
        ("NODE_KIND=7", "its kind of node `bent-node` is 7, and 0 (internal)"),
        ("NODE_NAME=TEXT(\"bent_node\")", "its name of a node is `bent_node`; a name"),
        (
            "ERROR_TEXTS=2",
            "its number of error texts of node `bent-node` is 2, and one for each error is due;",
        ),
        ("NODES={nodes,5000,120}", "its length of the list of nodes is 5000 and at most 4096 is allowed;"),
        ("NODES={nodes,2,8}", "its stride of the list of nodes says 8 bytes"),
        ("NODES={nodes,2,1<<20}", "its stride of the list of nodes is 1048576 and at most 65536"),
        ("NODES={(void *)16,2,120}", "its list of nodes points to memory that cannot be read;"),
        ("NODES={0,2,120}", "its list of nodes points to memory that cannot be read;"),
        ("USAGE=TEXT(\" \")", "its usage of a command is empty,"),
        ("RUN_AFTER=TEXT(\"a b\")", "its `runs_after` of init function `bent-init` is `a b`; a name"),
    ];
    for (definition, sentence) in cases {
        let refusal = shop.refusal(&[definition]).to_string();
        assert!(refusal.starts_with(sentence), "{definition}: {refusal}");
    }
    let refusal = shop.refusal(&["NEEDS=\"acl\"", "NEEDS_VERSION=\"nonsense\""]).to_string();
    assert!(
        refusal.starts_with("its version of dependency `acl` is `nonsense`, which is no version requirement")
    );
}

#[test]
fn an_undefined_symbol_is_named() {
    let refusal = Workshop::new().refusal(&["UNDEFINED"]);
    assert_eq!(refusal, Refusal::UndefinedSymbol { symbol: "raddle_test_nowhere".to_owned() });
}

#[test]
fn what_is_no_plugin_file_is_told() {
    let shop = Workshop::new();
    let whole = std::fs::read(shop.build("whole.so", &[])).unwrap();
    let patched = |at: usize, byte: u8| {
        let mut bytes = whole.clone();
        bytes[at] = byte;
        bytes
    };
    let cases: &[(&str, Vec<u8>, &str)] = &[
        ("empty", vec![], "the file is empty;"),
        (
            "text",
            b"#!/bin/sh\n".to_vec(),
            "it is not an ELF file (it starts with 23 21 2f 62, not 7f 45 4c 46);",
        ),
        ("32-bit class", patched(4, 1), "it is a 32-bit ELF file and raddle is 64-bit;"),
        ("byte order", patched(5, 2), "its byte order is big-endian and this machine's is little-endian;"),
        ("executable", patched(16, 2), "it is an executable, not a shared object;"),
        ("machine", patched(18, 8), "it is built for ELF machine 8 and raddle runs on "),
    ];
    for (name, bytes, sentence) in cases {
        let path = shop.path("x.so");
        std::fs::write(&path, bytes).unwrap();
        let refusal = load(&path).unwrap_err().to_string();
        assert!(refusal.starts_with(sentence), "{name}: {refusal}");
    }
    std::fs::create_dir(shop.path("directory.so")).unwrap();
    let refusal = load(&shop.path("directory.so")).unwrap_err().to_string();
    assert_eq!(refusal, "it is a directory, not a plain file; give the path of a shared object");
    let pipe = shop.path("pipe.so");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    assert_eq!(load(&pipe).unwrap_err(), Refusal::NotAFile { kind: "named pipe" });
    let missing = load(&shop.path("missing.so")).unwrap_err();
    assert!(matches!(missing, Refusal::Unreadable { .. }), "{missing}");
}

#[test]
fn a_file_cut_anywhere_is_refused() {
    let shop = Workshop::new();
    let whole = std::fs::read(shop.build("whole.so", &[])).unwrap();
    assert!(judge_bytes(&whole).is_ok());
    for length in 0..whole.len() {
        assert!(judge_bytes(&whole[..length]).is_err(), "{length} of {} bytes", whole.len());
    }
    let path = shop.path("cut.so");
    for length in (0..whole.len()).step_by(whole.len() / 50) {
        std::fs::write(&path, &whole[..length]).unwrap();
        assert!(load(&path).is_err(), "{length} bytes");
    }
}

#[test]
fn a_running_plugin_does_not_feel_its_file_change() {
    let shop = Workshop::new();
    let path = shop.build("x.so", &[]);
    let loaded = load(&path).unwrap();
    let length = std::fs::metadata(&path).unwrap().len() as usize;
    std::fs::write(&path, vec![0xff; length]).unwrap();
    std::fs::File::create(&path).unwrap();
    assert_eq!(loaded.header().magic, raddle_plugin_api::abi::MAGIC);
    let mut registrations = raddle_plugin_api::abi::Registrations::empty();
    // SAFETY: the header was judged, and the struct says its size.
    unsafe { (loaded.header().registrations)(&raw mut registrations) };
    assert_eq!(registrations.nodes.len(), 2);
}

#[test]
fn each_load_has_code_of_its_own_even_when_file_numbers_come_again() {
    let shop = Workshop::new();
    let versions: Vec<String> = (0..20)
        .map(|number| {
            let version = format!("VERSION=TEXT(\"1.0.{number}\")");
            check(&shop.build("x.so", &[&version])).unwrap().version.to_string()
        })
        .collect();
    let expected: Vec<String> = (0..20).map(|number| format!("1.0.{number}")).collect();
    assert_eq!(versions, expected);
}

#[test]
fn what_every_user_can_write_is_refused_for_root() {
    use std::os::unix::fs::PermissionsExt as _;
    let set = |path: &Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    let shop = Workshop::new();
    let path = shop.build("x.so", &[]);
    if !rustix::process::geteuid().is_root() {
        set(&path, 0o200);
        assert!(matches!(load(&path), Err(Refusal::Unreadable { .. })));
        set(&path, 0o666);
        assert!(load(&path).is_ok(), "only root is at risk");
        return;
    }
    set(&path, 0o666);
    let refusal = load(&path).unwrap_err();
    assert!(matches!(refusal, Refusal::WorldWritable { what: "file", mode: 0o666, .. }), "{refusal}");
    set(&path, 0o644);
    set(shop.directory.path(), 0o777);
    let refusal = load(&path).unwrap_err();
    assert!(matches!(refusal, Refusal::WorldWritable { what: "directory", mode: 0o777, .. }), "{refusal}");
    set(shop.directory.path(), 0o1777);
    assert!(load(&path).is_ok(), "nobody can replace the file");
    let error = discover(&shop.policy()).unwrap_err();
    assert!(matches!(error, DiscoverError::Unsafe { .. }), "anybody can add a file: {error}");
}

#[test]
fn a_directory_gives_its_plugins_in_order_and_tells_what_it_refuses() {
    let shop = Workshop::new();
    shop.build("z.so", &["NAME=TEXT(\"alpha\")", "NEEDS=\"beta\"", "NEEDS_VERSION=\"^1.2\""]);
    shop.build("y.so", &["NAME=TEXT(\"beta\")"]);
    shop.build("y2.so", &["NAME=TEXT(\"beta\")"]);
    shop.build("c.so", &["NAME=TEXT(\"core\")"]);
    shop.build("d.so", &["NAME=TEXT(\"delta\")", "NEEDS=\"gone\"", "NEEDS_VERSION=\"*\""]);
    shop.build("e.so.bak", &[]);
    std::fs::write(shop.path("bad.so"), "nothing").unwrap();
    std::fs::create_dir(shop.path("dir.so")).unwrap();
    let found = discover(&shop.policy()).unwrap();
    let names: Vec<&str> = found.plugins.iter().map(|plugin| plugin.name()).collect();
    assert_eq!(names, ["beta", "alpha"]);
    let refused: Vec<String> = found
        .refused
        .iter()
        .map(|(path, refusal)| {
            let sentence = refusal.to_string();
            format!("{}: {}", path.file_name().unwrap().display(), sentence.split([';', '(']).next().unwrap())
        })
        .collect();
    let duplicate =
        format!("y2.so: a plugin named `beta` is already there, from {}", shop.path("y.so").display());
    let expected = [
        "bad.so: it is not an ELF file ",
        "c.so: its name `core` belongs to raddle itself",
        "d.so: it needs the plugin `gone` *, which is not there",
        "dir.so: it is a directory, not a plain file",
        &duplicate,
    ];
    assert_eq!(refused, expected);
}

#[test]
fn a_disabled_plugin_runs_no_code_and_is_known_by_its_own_name() {
    let shop = Workshop::new();
    let marked = shop.path("constructor-ran");
    let constructor = format!("CONSTRUCTOR_MARK=\"{}\"", marked.display());
    shop.build("x.so", &["NAME=TEXT(\"alpha\")", &constructor]);
    shop.build("y.so", &["NAME=TEXT(\"beta\")", "NEEDS=\"alpha\"", "NEEDS_VERSION=\"*\""]);
    let policy = PluginPolicy { disable: list(&["alpha", "betta"]), ..shop.policy() };
    let found = discover(&policy).unwrap();
    assert_eq!(found.disabled, [("alpha".to_owned(), shop.path("x.so"))]);
    assert!(found.plugins.is_empty());
    assert!(found.refused[0].1.to_string().contains("left out by the configuration"));
    assert!(!marked.exists());
    let directory = shop.directory.path().display();
    let warning =
        format!("`plugins.disable` names `betta`, which is not in {directory}; did you mean `beta`?");
    assert_eq!(found.warnings, [warning]);
    let policy = PluginPolicy { only: list(&["alpha"]), ..shop.policy() };
    assert_eq!(discover(&policy).unwrap().disabled[0].0, "beta");
    assert!(marked.exists());
}

#[test]
fn a_required_plugin_must_be_usable() {
    let shop = Workshop::new();
    shop.build("x.so", &["NAME=TEXT(\"alpha\")"]);
    std::fs::write(shop.path("libbeta.so"), "nothing").unwrap();
    let with = |require: &[&str]| discover(&PluginPolicy { require: list(require), ..shop.policy() });
    assert!(with(&["alpha"]).is_ok());
    let error = with(&["alhpa"]).unwrap_err().to_string();
    assert!(error.ends_with("; did you mean `alpha`?"), "{error}");
    let Err(DiscoverError::RequiredRefused { name, refusal, .. }) = with(&["beta"]) else {
        panic!("a required plugin was refused");
    };
    assert_eq!(name, "beta");
    assert!(matches!(*refusal, Refusal::NotElf { .. }), "{refusal}");
    let policy = PluginPolicy { require: list(&["alpha"]), disable: list(&["alpha"]), ..shop.policy() };
    assert!(matches!(discover(&policy), Err(DiscoverError::RequiredDisabled { .. })));
}

#[test]
fn no_damage_to_a_file_makes_the_reader_panic() {
    let whole = std::fs::read(Workshop::new().build("whole.so", &[])).unwrap();
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = move || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random as usize
    };
    for _ in 0..20_000 {
        let mut bytes = whole.clone();
        for _ in 0..1 + next() % 8 {
            // The headers and tables are at the start and at the end; what is between is code and padding.
            let at = if next() % 2 == 0 { next() % bytes.len().min(2048) } else { next() % bytes.len() };
            bytes[at] = next() as u8;
        }
        let _ = judge_bytes(&bytes);
    }
}

#[test]
fn a_description_is_data() {
    let description: Description = check(&Workshop::new().build("x.so", &[])).unwrap();
    let json = serde_json::to_value(&description).unwrap();
    assert_eq!(json["name"], "bent");
    assert_eq!(json["built-with"], "cc");
    assert_eq!(json["nodes"][0], "bent-node");
}

#[test]
fn a_plugin_of_the_sdk_is_loaded() {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/minimal/Cargo.toml");
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("../examples");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(cargo);
    build
        .args(["build", "--quiet", "--locked", "--manifest-path"])
        .arg(&manifest)
        .arg("--target-dir")
        .arg(&target);
    assert!(build.status().unwrap().success(), "examples/minimal does not build");
    let path = target.join("debug/libminimal.so");
    let description = check(&path).unwrap();
    assert_eq!(description.registered.features[0].arc, "ip4-unicast");
    let (_, name) = judge_bytes(&std::fs::read(&path).unwrap()).unwrap();
    assert_eq!(name, Some(description.name), "the name is read from the file");
}

#[test]
fn the_same_file_takes_no_more_code_when_it_is_loaded_again_and_again() {
    let shop = Workshop::new();
    let marked = shop.path("constructor-ran");
    let path = shop.build("again.so", &[&format!("CONSTRUCTOR_MARK=\"{}\"", marked.display())]);
    let first = load(&path).unwrap();
    let beside = load(&path).unwrap();
    assert_ne!(first.header() as *const _, beside.header() as *const _, "two in use have code of their own");
    assert!(first.mapped().0 <= std::ptr::from_ref(first.header()).addr());
    let (one, other) = (std::ptr::from_ref(first.header()), std::ptr::from_ref(beside.header()));
    drop((first, beside));
    std::fs::remove_file(&marked).unwrap();
    for _ in 0..10 {
        let again = load(&path).unwrap();
        assert!([one, other].contains(&std::ptr::from_ref(again.header())));
    }
    assert!(!marked.exists(), "constructors run once for each copy of the code");
}
