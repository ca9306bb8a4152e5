//! Bundle files on disk: replaced whole, and refused with words that help.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use certs::{
    Authority, Bundle, FileError, Identity, IdentityError, IssueOptions, TrustDomain, UnixTime,
};

#[test]
fn a_saved_bundle_loads_as_it_was_for_its_owner_alone() {
    let desk = Desk::new();
    let bundle = desk.bundle("depot-7");

    bundle.save(&desk.path).expect("save");

    let loaded = Bundle::load(&desk.path).expect("load");
    assert_eq!(loaded.leaf(), bundle.leaf());
    assert_eq!(loaded.to_pem(), bundle.to_pem());
    let about = fs::metadata(&desk.path).expect("metadata");
    assert_eq!(about.permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_replaced_bundle_stays_beside_its_successor() {
    let desk = Desk::new();
    let (old, new) = (desk.bundle("a"), desk.bundle("a"));
    old.save(&desk.path).expect("save");

    new.save(&desk.path).expect("replace");

    let previous = Bundle::load(&Bundle::previous(&desk.path)).expect("previous");
    assert_eq!(previous.leaf(), old.leaf());
    assert_eq!(Bundle::load(&desk.path).expect("load").leaf(), new.leaf());
    assert_eq!(desk.files(), ["node.pem", "node.pem.previous"]);
}

#[test]
fn saving_a_bundle_twice_keeps_its_predecessor() {
    let desk = Desk::new();
    let (old, new) = (desk.bundle("a"), desk.bundle("a"));
    old.save(&desk.path).expect("save");
    new.save(&desk.path).expect("replace");

    new.save(&desk.path).expect("again");

    let previous = Bundle::load(&Bundle::previous(&desk.path)).expect("previous");
    assert_eq!(previous.leaf(), old.leaf());
}

#[test]
fn whoever_reads_during_replacements_finds_a_whole_bundle() {
    let desk = Desk::new();
    let bundles = [desk.bundle("a"), desk.bundle("a")];
    bundles[0].save(&desk.path).expect("save");

    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for turn in 0..50 {
                bundles[turn % 2].save(&desk.path).expect("replace");
            }
        });
        while !writer.is_finished() {
            Bundle::load(&desk.path).expect("a whole bundle at any instant");
        }
    });
}

#[test]
fn a_bundle_that_cannot_be_written_leaves_the_old_in_force() {
    let desk = Desk::new();
    let (old, new) = (desk.bundle("a"), desk.bundle("a"));
    old.save(&desk.path).expect("save");
    fs::create_dir(Bundle::previous(&desk.path)).expect("in the way");

    new.save(&desk.path)
        .expect_err("the old one cannot be kept");

    assert_eq!(Bundle::load(&desk.path).expect("load").leaf(), old.leaf());
}

#[test]
fn a_missing_bundle_says_where_and_what_to_try() {
    let desk = Desk::new();

    desk.check_refused(
        "PATH does not exist (issue one with `edgectl cert issue`, or enrol the node)",
    );
}

#[test]
fn a_bundle_open_to_others_names_its_mode_and_the_cure() {
    let desk = Desk::new();
    desk.bundle("a").save(&desk.path).expect("save");
    for (mode, shown) in [(0o640, "0640"), (0o604, "0604"), (0o620, "0620")] {
        fs::set_permissions(&desk.path, fs::Permissions::from_mode(mode)).expect("chmod");

        desk.check_refused(&format!(
            "PATH holds a private key and has mode {shown} (try: chmod 600 PATH)"
        ));
    }
}

#[test]
fn a_bundle_without_a_key_says_what_it_does_hold() {
    let desk = Desk::new();
    let (_, chain) = desk.halves("a");
    desk.write(&chain);

    desk.check_refused("PATH holds no private key (1 certificates found)");
}

#[test]
fn a_bundle_without_a_certificate_says_so() {
    let desk = Desk::new();
    let (key, _) = desk.halves("a");
    desk.write(&key);

    desk.check_refused("PATH holds no certificate");
}

#[test]
fn a_bundle_with_two_keys_is_not_guessed_at() {
    let desk = Desk::new();
    let ((one, _), (two, chain)) = (desk.halves("a"), desk.halves("a"));
    desk.write(&format!("{one}{two}{chain}"));

    desk.check_refused("PATH holds 2 private keys, not one");
}

#[test]
fn the_key_of_one_generation_beside_the_chain_of_another_is_refused() {
    let desk = Desk::new();
    let ((key, _), (_, chain)) = (desk.halves("a"), desk.halves("a"));
    desk.write(&format!("{key}{chain}"));

    desk.check_refused("PATH: the key does not match the certificate of a");
}

#[test]
fn garbage_is_called_garbage() {
    let desk = Desk::new();

    desk.write("hello");
    desk.check_refused("PATH is not readable as PEM: no PEM section in 5 bytes");

    desk.write("");
    desk.check_refused("PATH is not readable as PEM: no PEM section in 0 bytes");

    let whole = desk.bundle("a").to_pem().to_owned();
    desk.write(&whole[..whole.len() - 40]);
    desk.check_refused("PATH is not readable as PEM: a section has no end (a file cut short?)");

    desk.write(&whole.replace("\nMI", "\n!!"));
    desk.check_refused("PATH is not readable as PEM: a section is no base64");
}

#[test]
fn every_cut_of_a_bundle_is_refused() {
    let desk = Desk::new();
    let whole = desk.bundle("a").to_pem().trim_end().to_owned();

    for length in (0..whole.len()).step_by(7) {
        assert!(Bundle::from_pem(&whole[..length]).is_err(), "{length}");
    }
    assert!(Bundle::from_pem(&whole).is_ok());
}

#[test]
fn a_ca_instead_of_a_leaf_is_refused() {
    let desk = Desk::new();
    let home = desk.dir.path().join("ca");
    let key = fs::read_to_string(home.join("ca.key")).expect("key");
    let certificate = fs::read_to_string(home.join("ca.crt")).expect("certificate");
    desk.write(&format!("{key}{certificate}"));

    let error = Bundle::load(&desk.path).expect_err("a CA's own pair");

    assert!(matches!(error, FileError::Leaf { .. }), "{error}");
}

#[test]
fn an_identity_loads_from_its_two_files_and_names_itself() {
    let desk = Desk::new();
    let bundle = desk.bundle("depot-7");
    bundle.save(&desk.path).expect("save");

    let identity = Identity::load(&desk.path, &desk.ca_path()).expect("load");

    assert_eq!(identity.leaf(), bundle.leaf());
    assert_eq!(identity.check(now()), Ok(()));
}

#[test]
fn a_leaf_in_the_place_of_the_ca_is_refused_as_no_ca() {
    let desk = Desk::new();
    desk.bundle("a").save(&desk.path).expect("save");

    let error = Identity::load(&desk.path, &desk.path).expect_err("no CA");

    assert!(
        matches!(error, IdentityError::File(FileError::NotACa { .. })),
        "{error}"
    );
    assert!(
        error.to_string().contains("CN=a, which is no CA"),
        "{error}"
    );
}

#[test]
fn no_secret_is_printed_by_debug() {
    let desk = Desk::new();
    let bundle = desk.bundle("a");
    bundle.save(&desk.path).expect("save");
    let identity = Identity::load(&desk.path, &desk.ca_path()).expect("load");
    let key_line = bundle.to_pem().lines().nth(1).expect("a line of the key");

    for text in [
        format!("{bundle:?}"),
        format!("{identity:?}"),
        format!("{:?}", desk.authority),
    ] {
        assert!(
            !text.contains(key_line) && !text.contains("PRIVATE"),
            "{text}"
        );
    }
}

/// A directory with a CA, and a place for a bundle.
struct Desk {
    dir: tempfile::TempDir,
    path: PathBuf,
    authority: Authority,
}

impl Desk {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("tempdir");
        let domain: TrustDomain = "example.edge".parse().expect("domain");
        let mut authority = Authority::create(&domain, now()).expect("create");
        authority.save(&dir.path().join("ca")).expect("save CA");
        fs::create_dir(dir.path().join("node")).expect("directory");
        let path = dir.path().join("node/node.pem");
        Self {
            dir,
            path,
            authority,
        }
    }

    fn bundle(&self, id: &str) -> Bundle {
        self.authority
            .issue(&id.parse().expect("node id"), IssueOptions::at(now()))
            .expect("issue")
    }

    /// The key and the chain of a new bundle, each as text.
    fn halves(&self, id: &str) -> (String, String) {
        let pem = self.bundle(id).to_pem().to_owned();
        let middle = pem.find("-----BEGIN CERTIFICATE").expect("a certificate");
        let (key, chain) = pem.split_at(middle);
        (key.to_owned(), chain.to_owned())
    }

    fn ca_path(&self) -> PathBuf {
        self.dir.path().join("ca/ca.crt")
    }

    fn write(&self, text: &str) {
        fs::write(&self.path, text).expect("write");
        fs::set_permissions(&self.path, fs::Permissions::from_mode(0o600)).expect("chmod");
    }

    fn files(&self) -> Vec<String> {
        let parent: &Path = self.path.parent().expect("a directory");
        let mut names: Vec<String> = fs::read_dir(parent)
            .expect("list")
            .map(|entry| entry.expect("entry").file_name())
            .map(|name| name.to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    /// Loading refuses with exactly these words, `PATH` standing for the path.
    #[track_caller]
    fn check_refused(&self, words: &str) {
        let error = Bundle::load(&self.path).expect_err("a bad bundle");
        let found = error.to_string();
        assert_eq!(
            found.replace(&self.path.display().to_string(), "PATH"),
            words
        );
    }
}

fn now() -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(1_800_000_000))
}
