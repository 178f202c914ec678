use std::os::unix::fs::PermissionsExt;

use super::*;

fn request(folder: &Path) -> CertificateRequest {
    let now = SystemTime::now();
    CertificateRequest {
        folder: folder.to_owned(),
        roles: Role::ALL.to_vec(),
        renew: false,
        from: now - EARLIER,
        until: now + DAY,
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn keys_and_their_folder_are_for_their_owner_alone() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("certs");
    assert!(request(&folder).make().unwrap(), "a new authority");
    assert_eq!(mode(&folder), 0o700);
    let keys = Role::ALL.map(|role| key_file(&folder, role));
    for key in keys.iter().chain([&folder.join(AUTHORITY_KEY)]) {
        assert_eq!(mode(key), 0o600, "{}", key.display());
    }
    for role in Role::ALL {
        assert!(Trust::read(&folder, role).unwrap().is_secure());
    }
}

#[test]
fn nothing_is_overwritten_unless_it_is_renewed_from_the_same_authority() {
    let folder = tempfile::tempdir().unwrap();
    let made = request(folder.path());
    made.make().unwrap();
    let of = |name: &str| fs::read(folder.path().join(name)).unwrap();
    let before = (of(AUTHORITY), of("worker.pem"), of("loader.pem"));
    let said = made.make().unwrap_err().to_string();
    assert!(said.contains("worker.pem") && said.contains("--renew"), "{said}");
    assert_eq!(before, (of(AUTHORITY), of("worker.pem"), of("loader.pem")));

    let renewed = CertificateRequest { renew: true, roles: vec![Role::Worker], ..made.clone() };
    assert!(!renewed.make().unwrap(), "the same authority");
    assert_eq!((before.0, before.2), (of(AUTHORITY), of("loader.pem")));
    assert_ne!(before.1, of("worker.pem"));
    Trust::read(folder.path(), Role::Worker).unwrap();

    fs::remove_file(folder.path().join(AUTHORITY_KEY)).unwrap();
    let said = renewed.make().unwrap_err().to_string();
    assert!(said.contains("where the authority was made"), "{said}");
    let nothing = tempfile::tempdir().unwrap();
    let said = CertificateRequest { folder: nothing.path().into(), ..renewed }
        .make()
        .unwrap_err()
        .to_string();
    assert!(said.contains("no authority to renew"), "{said}");
}

/// The error that a process reports when it reads the folder.
#[test]
fn certificates_that_cannot_be_used_say_why_and_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let made = request(folder);
    made.make().unwrap();
    let said = || Trust::read(folder, Role::Worker).unwrap_err().to_string();
    let contains = |words: &[&str]| {
        let said = said();
        assert!(words.iter().all(|word| said.contains(word)), "{said}");
    };
    let (own, key) = (certificate_file(folder, Role::Worker), key_file(folder, Role::Worker));
    let (good, good_key) = (fs::read(&own).unwrap(), fs::read(&key).unwrap());

    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    contains(&["every user", "644", "chmod 600"]);
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    fs::copy(key_file(folder, Role::Loader), &key).unwrap();
    contains(&["key of another certificate"]);
    fs::write(&key, "nothing").unwrap();
    contains(&["worker-key.pem", "not a private key"]);
    fs::write(&key, &good_key).unwrap();

    fs::copy(certificate_file(folder, Role::Loader), &own).unwrap();
    contains(&["not a worker's certificate"]);
    fs::write(&own, &good[..100]).unwrap();
    contains(&["worker.pem", "not a certificate in PEM"]);
    fs::remove_file(&own).unwrap();
    contains(&["worker.pem", "not there", "alexnet certs"]);
    fs::write(&own, &good).unwrap();

    let other = tempfile::tempdir().unwrap();
    request(other.path()).make().unwrap();
    let authority = fs::read(folder.join(AUTHORITY)).unwrap();
    fs::copy(other.path().join(AUTHORITY), folder.join(AUTHORITY)).unwrap();
    contains(&["not made by an authority"]);
    fs::write(folder.join(AUTHORITY), authority).unwrap();

    let now = SystemTime::now();
    let expired =
        CertificateRequest { renew: true, from: now - 3 * DAY, until: now - DAY, ..made.clone() };
    expired.make().unwrap();
    contains(&["expired on", "and it is", "alexnet certs", "--renew --roles worker"]);
    CertificateRequest { from: now + DAY, until: now + 2 * DAY, ..expired }.make().unwrap();
    contains(&["valid from", "clock says", "set the clock"]);
}
