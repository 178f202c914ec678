//! Folders of pictures, in any layout that `layout.rs` knows: one folder per class, or a list.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};

use super::file_names::{self, Kind};
use super::layout::{Contents, Layout, SplitFolder};
use super::lists::{self, List, Names};
use super::split_names::split_of;
use super::tree::{File, Folder, Id, Tree};
use super::{Instead, Location, Picture, Reading, SourceFile, class_names};
use crate::{Error, Split};

/// Most folders that are named one by one in the notes.
const MOST_NAMED: usize = 10;

/// Pictures of a split with the keys of their classes.
type Labeled = Vec<(String, PathBuf)>;

/// Lists the pictures of a layout.
///
/// # Errors
/// [`Error::Io`], [`Error::Layout`] for a list of classes that contradicts itself.
pub(super) fn read(tree: &Tree, layout: Layout, reading: Reading) -> Result<Reading, Error> {
    let mut collector = Collector::new(tree, layout.at, reading);
    for split in &layout.splits {
        collector.split(split)?;
    }
    collector.name_the_rest();
    collector.finish()
}

/// Lists the files below one class folder that may be pictures, by their paths below the root of
/// the reading, for sources that keep only some classes in folders.
///
/// # Errors
/// [`Error::Io`] if the folder can't be listed.
pub(super) fn below(reading: &mut Reading, folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let tree = Tree::read(folder, reading)?;
    let prefix = folder.strip_prefix(&reading.root).unwrap_or(folder).to_owned();
    let files = tree.source_files().into_iter();
    let below_root = |file: SourceFile| SourceFile { path: prefix.join(&file.path), ..file };
    reading.files.extend(files.map(below_root));
    let mut collector = Collector::new(&tree, 0, std::mem::take(reading));
    let pictures = collector.pictures(0);
    *reading = collector.reading;
    Ok(pictures.into_iter().map(|path| prefix.join(path)).collect())
}

struct Collector<'a> {
    tree: &'a Tree,
    /// The folder that holds splits or classes.
    at: Id,
    reading: Reading,
    /// Folders whose files were looked at.
    used: HashSet<Id>,
    /// Lists that were used.
    lists: HashSet<PathBuf>,
    splits: BTreeMap<Split, Labeled>,
    /// Classes of each split, also those without pictures.
    keys: BTreeMap<Split, BTreeSet<String>>,
}

impl<'a> Collector<'a> {
    fn new(tree: &'a Tree, at: Id, reading: Reading) -> Self {
        Self {
            tree,
            at,
            reading,
            used: HashSet::new(),
            lists: HashSet::new(),
            splits: BTreeMap::new(),
            keys: BTreeMap::new(),
        }
    }

    fn below(&self, path: &Path) -> PathBuf {
        path.strip_prefix(&self.tree.folder(0).path).unwrap_or(path).to_owned()
    }

    fn name(&self, id: Id) -> String {
        let below = self.below(&self.tree.folder(id).path);
        if below.as_os_str().is_empty() {
            "the folder itself".into()
        } else {
            format!("{}/", below.display())
        }
    }

    fn split(&mut self, of: &SplitFolder) -> Result<(), Error> {
        let split = of.split;
        match &of.contents {
            Contents::Classes(id) => {
                self.used.insert(*id);
                self.strays(*id, false);
                let folders = self.tree.in_folder(*id);
                // An empty folder is a class without pictures; one full of tables is none.
                let classes: Vec<(String, Id)> = folders
                    .filter(|(id, _)| !self.tree.has_only_other_files(*id))
                    .map(|(id, folder)| (folder.name.clone(), id))
                    .collect();
                self.classes(split, &classes);
            }
            Contents::Scattered(classes) => self.classes(split, classes),
            Contents::Flat(id) => self.flat(split, *id)?,
        }
        Ok(())
    }

    fn classes(&mut self, split: Split, classes: &[(String, Id)]) {
        let mut before: HashMap<&str, Id> = HashMap::new();
        for (key, id) in classes {
            if let Some(first) = before.insert(key, *id) {
                let [one, two] = [first, *id].map(|id| self.name(id));
                self.reading.notes.push(format!(
                    "{one} and {two} have the same name in two spellings: read as one class"
                ));
            }
            self.keys.entry(split).or_default().insert(key.clone());
            let pictures = self.pictures(*id);
            let labeled = pictures.into_iter().map(|path| (key.clone(), path));
            self.splits.entry(split).or_default().extend(labeled);
        }
        self.splits.entry(split).or_default();
        self.keys.entry(split).or_default();
    }

    /// Lists everything below a class folder that may be a picture.
    fn pictures(&mut self, class: Id) -> Vec<PathBuf> {
        let mut below = Vec::new();
        self.collect(class, &mut below);
        below.sort(); // by the names of folders and files, as one list
        below
    }

    fn collect(&mut self, folder: Id, pictures: &mut Vec<PathBuf>) {
        let mut waiting = vec![folder];
        while let Some(id) = waiting.pop() {
            self.used.insert(id);
            let folder = self.tree.folder(id);
            let path = self.below(&folder.path);
            for file in &folder.files {
                let file_path = path.join(&file.name);
                match file_names::kind(&file.name()) {
                    Kind::Picture | Kind::Unknown => pictures.push(file_path),
                    Kind::Other(what) => {
                        self.reading.passed_over.add(what, || file_path.display().to_string());
                    }
                    Kind::Archive => self.reading.leave_out(
                        file_path.to_string_lossy(),
                        "an archive: unpack it, or prepare it by itself",
                    ),
                }
            }
            waiting.extend(folder.folders.iter().rev());
        }
    }

    /// Returns true if a file is a list that says something of the pictures or the classes.
    fn is_used(&self, folder: &Folder, file: &File) -> bool {
        self.lists.contains(&folder.path.join(&file.name)) || class_names::is_list(&file.name())
    }

    /// Names the files beside class folders; in a flat folder, those beside its pictures.
    fn strays(&mut self, id: Id, is_flat: bool) {
        let folder = self.tree.folder(id);
        let path = self.below(&folder.path);
        for file in &folder.files {
            if self.is_used(folder, file) {
                continue;
            }
            let stray = path.join(&file.name);
            match file_names::kind(&file.name()) {
                Kind::Picture if is_flat => {}
                Kind::Picture => {
                    self.reading.leave_out(stray.to_string_lossy(), "not in a class folder");
                }
                _ => {
                    let passed_over = &mut self.reading.passed_over;
                    passed_over.add("files beside the pictures", || stray.display().to_string());
                }
            }
        }
    }

    /// Lists the pictures of a folder without class folders, with the classes that a list gives.
    fn flat(&mut self, split: Split, id: Id) -> Result<(), Error> {
        self.used.insert(id);
        let folder = self.tree.folder(id);
        let path = self.below(&folder.path);
        let pictures: Vec<PathBuf> = {
            let is_picture = |name: &str| matches!(file_names::kind(name), Kind::Picture);
            let files = folder.files.iter().filter(|file| is_picture(&file.name()));
            files.map(|file| path.join(&file.name)).collect()
        };
        let list = match pictures.is_empty() {
            true => None,
            false => self.best_list(split, id, &pictures)?,
        };
        if let Some((file, _)) = &list {
            self.lists.insert(file.clone());
        }
        self.strays(id, true);
        match list {
            Some((file, list)) => self.use_list(split, &file, list, &pictures),
            None => self.without_list(split, id, &pictures),
        }
        Ok(())
    }

    /// The list that knows most of the pictures, in their folder or in those around it.
    fn best_list(
        &self,
        split: Split,
        id: Id,
        pictures: &[PathBuf],
    ) -> Result<Option<(PathBuf, List)>, Error> {
        let folder = self.below(&self.tree.folder(id).path);
        let inside = pictures.iter().map(|path| path.strip_prefix(&folder).unwrap_or(path));
        let names = Names::of(inside);
        let mut best: Option<(usize, PathBuf, List)> = None;
        for path in self.candidates(split, id) {
            let Some(list) = lists::read(&path, &names)? else { continue };
            if best.as_ref().is_none_or(|(n, ..)| list.of.len() > *n) {
                best = Some((list.of.len(), path, list));
            }
        }
        let enough = |n: usize| 2 * n >= pictures.len();
        Ok(best.filter(|(n, ..)| enough(*n)).map(|(_, path, list)| (path, list)))
    }

    /// Files that may be lists, nearest first; those named like another split last.
    fn candidates(&self, split: Split, id: Id) -> Vec<PathBuf> {
        let mut candidates = Vec::new();
        let mut at = Some(id);
        while let Some(id) = at {
            let folder = self.tree.folder(id);
            let is_list = |file: &&File| {
                let name = file.name().to_lowercase();
                [".csv", ".tsv", ".txt", ".lst"].iter().any(|end| name.ends_with(end))
                    && file.bytes() <= lists::LONGEST
            };
            // A folder with a text for each picture has no list.
            let files: Vec<_> = folder.files.iter().filter(is_list).take(65).collect();
            if files.len() <= 64 {
                candidates.extend(files.iter().map(|file| folder.path.join(&file.name)));
            }
            at = folder.parent;
        }
        let other = |path: &PathBuf| {
            let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            split_of(&stem).is_some_and(|(of, _)| of != split)
        };
        candidates.sort_by_key(other);
        candidates
    }

    fn use_list(&mut self, split: Split, file: &Path, list: List, pictures: &[PathBuf]) {
        let from = self.below(file).display().to_string();
        let disputed: HashSet<usize> = list.disputed.iter().copied().collect();
        for (i, path) in pictures.iter().enumerate() {
            match list.of.get(&i) {
                Some((class, own)) => {
                    let split = own.unwrap_or(split);
                    self.keys.entry(split).or_default().insert(class.clone());
                    self.splits.entry(split).or_default().push((class.clone(), path.clone()));
                }
                None if disputed.contains(&i) => self
                    .reading
                    .leave_out(path.to_string_lossy(), format!("{from} gives it two classes")),
                None => {
                    self.reading.leave_out(path.to_string_lossy(), format!("not in {from}"));
                }
            }
        }
        self.reading
            .notes
            .push(format!("the classes of {} are taken from {from}", pictures_of(split)));
        if list.absent.0 > 0 {
            let (n, first) = list.absent;
            self.reading.notes.push(format!(
                "{from} names {n} pictures that aren't in this folder, first {first}"
            ));
        }
    }

    fn without_list(&mut self, split: Split, id: Id, pictures: &[PathBuf]) {
        let folder = self.name(id);
        if pictures.is_empty() {
            self.reading.notes.push(format!("{folder} holds no pictures"));
            return;
        }
        let n = match pictures.len() {
            1 => "1 picture".into(),
            n => format!("{n} pictures"),
        };
        match split {
            Split::Test => self.reading.notes.push(format!(
                "{folder} holds {n} without class folders or a list of their classes: \
                 they are not used (`alexnet predict` can name them)"
            )),
            Split::Val => self.reading.doubt(
                format!(
                    "{folder} holds {n} for validation without class folders; expected \
                     val/<class>/*, or a list of their classes beside them, such as \
                     LOC_val_solution.csv or val_annotations.txt"
                ),
                Some(Instead::Options(vec!["--val".into(), "none".into()])),
            ),
            Split::Train => {
                let instead = sorting_command(&self.tree.folder(id).path, pictures);
                self.reading.doubt(
                    format!(
                        "{folder} holds {n}, but no class folders and no list of their \
                         classes; expected one folder per class"
                    ),
                    instead,
                );
            }
        }
    }

    /// Names the folders and files that belong to no split.
    fn name_the_rest(&mut self) {
        let mut unused: Vec<(Id, u64)> = Vec::new();
        let mut waiting = vec![0];
        while let Some(id) = waiting.pop() {
            let mut files = 0;
            let mut any_used = false;
            let used = &self.used;
            self.tree.visit(id, &mut |id, folder| {
                files += folder.files.len() as u64;
                any_used |= used.contains(&id);
            });
            if any_used || id == 0 {
                if !self.used.contains(&id) {
                    self.strays(id, false);
                }
                waiting.extend(self.tree.in_folder(id).map(|(id, _)| id));
            } else if files > 0 {
                unused.push((id, files));
            }
        }
        unused.sort();
        for (id, files) in unused.iter().take(MOST_NAMED) {
            let folder = self.name(*id);
            self.reading.notes.push(format!(
                "{folder} ({files} {}) is not used: it is neither a split nor a class",
                if *files == 1 { "file" } else { "files" }
            ));
        }
        if unused.len() > MOST_NAMED {
            let more = unused.len() - MOST_NAMED;
            self.reading.notes.push(format!("{more} more folders are not used either"));
        }
    }

    fn finish(mut self) -> Result<Reading, Error> {
        self.join_keys();
        self.number_classes();
        let keys: BTreeSet<String> = self.keys.values().flatten().cloned().collect();
        let mut folders = Vec::new();
        let mut at = Some(self.at);
        while let Some(id) = at {
            folders.push(self.tree.folder(id).path.clone());
            at = self.tree.folder(id).parent;
        }
        class_names::in_label_order(&mut self.reading, &folders, keys)?;
        let classes = self.reading.classes.iter().zip(0..);
        let labels: HashMap<String, u32> = classes.map(|((key, _), n)| (key.clone(), n)).collect();
        let mut pictures = |split| {
            let labeled = self.splits.remove(&split)?;
            let picture = |(key, path): (String, PathBuf)| {
                Some(Picture { label: *labels.get(&key)?, location: Location::File(path) })
            };
            Some(labeled.into_iter().filter_map(picture).collect::<Vec<_>>())
        };
        let (train, val, test) =
            (pictures(Split::Train), pictures(Split::Val), pictures(Split::Test));
        self.reading.train = train.unwrap_or_default();
        (self.reading.val, self.reading.test) = (val, test);
        Ok(self.reading)
    }

    /// Makes one key of the keys that differ in capitals and hyphens only.
    fn join_keys(&mut self) {
        let order = [Split::Train, Split::Val, Split::Test];
        let sets: Vec<_> =
            order.iter().map(|split| self.keys.get(split).cloned().unwrap_or_default()).collect();
        for (old, new) in class_names::together(&sets) {
            self.reading
                .notes
                .push(format!("class {old} is taken as {new}: the same name to a person"));
            self.rename(&old, &new);
        }
    }

    /// Understands labels that are numbers where the training classes have names: places in the
    /// order of the classes, from 0.
    fn number_classes(&mut self) {
        let train = self.keys.get(&Split::Train).cloned().unwrap_or_default();
        let order: Vec<String> = train.iter().cloned().collect();
        for split in [Split::Val, Split::Test] {
            let Some(keys) = self.keys.get(&split).cloned() else { continue };
            let numbers: Option<Vec<usize>> = keys.iter().map(|key| key.parse().ok()).collect();
            let Some(numbers) = numbers.filter(|n| !n.is_empty()) else { continue };
            let fits = numbers.iter().all(|n| *n < order.len()) && numbers.contains(&0);
            if train.is_disjoint(&keys) && fits {
                self.reading.notes.push(format!(
                    "the classes of {} are numbers: taken as places in the alphabetical order of \
                     the training classes, from 0",
                    pictures_of(split)
                ));
                let labeled = self.splits.remove(&split).unwrap_or_default();
                let renamed = labeled.into_iter().filter_map(|(key, path)| {
                    Some((order.get(key.parse::<usize>().ok()?)?.clone(), path))
                });
                self.splits.insert(split, renamed.collect());
                self.keys.insert(split, BTreeSet::new());
            }
        }
    }

    fn rename(&mut self, old: &str, new: &str) {
        for keys in self.keys.values_mut() {
            if keys.remove(old) {
                keys.insert(new.to_owned());
            }
        }
        for labeled in self.splits.values_mut() {
            labeled.iter_mut().filter(|(key, _)| key == old).for_each(|(key, _)| *key = new.into());
        }
    }
}

fn pictures_of(split: Split) -> &'static str {
    match split {
        Split::Train => "the training pictures",
        Split::Val => "the validation pictures",
        Split::Test => "the test pictures",
    }
}

/// A command that sorts pictures into class folders by the beginnings of their names, such as
/// `cat.0.jpg`; `None` if the names don't begin with few words.
fn sorting_command(folder: &Path, pictures: &[PathBuf]) -> Option<Instead> {
    let mut classes = BTreeSet::new();
    for picture in pictures {
        let name = picture.file_name()?.to_str()?;
        let end = name.find(['.', '_', '-', ' '])?;
        let (class, rest) = name.split_at(end);
        let is_word = !class.is_empty() && class.chars().all(char::is_alphabetic);
        (is_word && rest.chars().any(|c| c.is_ascii_digit())).then(|| classes.insert(class))?;
    }
    if !(2..=50).contains(&classes.len()) || classes.len() * 2 > pictures.len() {
        return None;
    }
    let classes = classes.into_iter().collect::<Vec<_>>().join(" ");
    let folder = net::quoted(folder);
    Some(Instead::Before(format!(
        "cd {folder} && for c in {classes}; do mkdir -p \"$c\" && \
         find . -maxdepth 1 -type f -name \"$c[._ -]*\" -exec mv {{}} \"$c/\" \\; ; done; cd -"
    )))
}
