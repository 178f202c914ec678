//! Names of files and folders that systems and programs leave among people's pictures.

/// Names of folders and files that belong to a system, in lower case, with a description.
const NAMES: [(&str, &str); 21] = [
    ("__macosx", "folders of macOS archives"),
    (".ds_store", "files of the macOS Finder"),
    ("thumbs.db", "thumbnails of Windows"),
    ("ehthumbs.db", "thumbnails of Windows"),
    ("desktop.ini", "files of the Windows Explorer"),
    ("$recycle.bin", "recycle bins"),
    ("recycler", "recycle bins"),
    ("#recycle", "recycle bins"),
    ("@recycle", "recycle bins"),
    ("@recently-snapshot", "snapshots"),
    ("#snapshot", "snapshots"),
    ("system volume information", "folders of Windows"),
    ("found.000", "folders of Windows"),
    ("lost+found", "folders of the file system"),
    ("@eadir", "thumbnails of a Synology NAS"),
    ("@tmp", "folders of a NAS"),
    ("network trash folder", "folders of macOS"),
    ("temporary items", "folders of macOS"),
    ("icon\r", "files of the macOS Finder"),
    ("__pycache__", "folders of Python"),
    ("zbthumbnail.info", "thumbnails of other programs"),
];

/// A description of the things that have this name, if they belong to a system or are hidden.
///
/// `name` is one component of a path, of a file, a folder or a member of an archive.
pub fn passed_over(name: &str) -> Option<&'static str> {
    if name.starts_with("._") {
        return Some("AppleDouble files of macOS");
    }
    let lower = name.to_lowercase();
    let known = NAMES.iter().find(|(known, _)| *known == lower).map(|(_, what)| *what);
    known.or_else(|| name.starts_with('.').then_some("hidden files and folders"))
}

/// As [`passed_over`], for a path: the first component that belongs to a system decides.
pub(super) fn passed_over_path(path: &str) -> Option<&'static str> {
    path.split('/').filter(|part| !matches!(*part, "" | "." | "..")).find_map(passed_over)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_systems_are_known_in_any_case_and_names_of_people_are_not() {
        for name in ["._a.jpg", ".DS_Store", "Thumbs.db", "$RECYCLE.BIN", "@eaDir", "__MACOSX"] {
            assert!(passed_over(name).is_some(), "{name}");
        }
        for name in ["cat", "Macosx", "lost", "recycle", "@home", "a.jpg", "_a"] {
            assert_eq!(passed_over(name), None, "{name}");
        }
        assert!(passed_over_path("./cat/._1.jpg").is_some());
        assert_eq!(passed_over_path("./cat/1.jpg"), None);
    }
}
