#![expect(clippy::single_range_in_vec_init, reason = "ranges of data are compared")]

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;

use icecore_testkit::LoopDisk;

use super::*;
use crate::tree::Root;

const MIB: u64 = 1 << 20;

fn tree(path: &Path) -> Tree {
    Tree::open(vec![Root { name: "root".into(), path: path.into() }]).unwrap()
}

fn content(file: &ClonedFile) -> Vec<u8> {
    let mut all = Vec::new();
    let mut buffer = [0; 10_000];
    loop {
        match file.read_at(all.len() as u64, &mut buffer).unwrap() {
            0 => return all,
            len => all.extend_from_slice(&buffer[..len]),
        }
    }
}

fn ranges(file: &ClonedFile, size: u64) -> Vec<Range<u64>> {
    let mut found = Vec::new();
    let mut offset = 0;
    while let Some(range) = file.next_data(offset, size).unwrap() {
        offset = range.end;
        found.push(range);
    }
    found
}

#[test]
fn clones_keep_what_was_whatever_becomes_of_the_files() {
    for disk in [LoopDisk::xfs(), LoopDisk::btrfs()] {
        let Some(disk) = disk else { return };
        let root = disk.path();
        // Around a block, around what clones are aligned to, and nothing at all.
        let sizes = [1, 4095, 4096, 4097, 0, 65_535, 65_536, 65_537, 3_000_001, 7];
        for (number, size) in sizes.iter().enumerate() {
            fs::write(root.join(number.to_string()), vec![number as u8 + 1; *size]).unwrap();
        }
        let tree = tree(&root);
        let mut cloner = Cloner::open(&tree, 1).unwrap().pop().unwrap();
        let clone = |number: usize| {
            let file = tree.open_file(number.to_string().as_bytes()).unwrap();
            cloner.clone_file(&file, &file.stat().unwrap()).unwrap()
        };
        let clones: Vec<_> = (0..sizes.len()).map(clone).collect();
        for number in 0..sizes.len() {
            let path = root.join(number.to_string());
            match number % 3 {
                0 => fs::write(&path, "something else").unwrap(),
                1 => File::options().write(true).open(&path).unwrap().set_len(1).unwrap(),
                _ => fs::remove_file(&path).unwrap(),
            }
        }
        for (number, (clone, size)) in clones.iter().zip(sizes).enumerate() {
            assert_eq!(content(clone), vec![number as u8 + 1; size], "{number}");
            assert_eq!(clone.read_at(size as u64 + 10, &mut [0; 9]).unwrap(), 0);
            let data = if size == 0 { vec![] } else { vec![0..size as u64] };
            assert_eq!(ranges(clone, size as u64 + 5_000), data, "{number}");
        }
        let left = icecore_testkit::loop_disk::names(&root);
        assert!(left.iter().all(|name| name.parse::<usize>().is_ok()), "{left:?}");
    }
}

#[test]
fn holes_stay_holes_also_in_a_file_beyond_four_gibibytes() {
    let Some(disk) = LoopDisk::xfs() else { return };
    let sparse = File::create(disk.path().join("sparse")).unwrap();
    let size = 5000 * MIB + 3;
    sparse.write_all_at(&[1; 4096], 0).unwrap();
    sparse.write_all_at(&[2; 4096], 4500 * MIB).unwrap();
    sparse.set_len(size).unwrap();
    fs::write(disk.path().join("before"), "x").unwrap();
    let tree = tree(&disk.path());
    let mut cloner = Cloner::open(&tree, 1).unwrap().pop().unwrap();
    let [_before, clone, after] = ["before", "sparse", "before"].map(|name| {
        let file = tree.open_file(name.as_bytes()).unwrap();
        cloner.clone_file(&file, &file.stat().unwrap()).unwrap()
    });
    assert_eq!(ranges(&clone, size), [0..4096, 4500 * MIB..4500 * MIB + 4096]);
    assert_eq!(ranges(&clone, MIB), vec![0..4096]);
    let mut end = [9; 8];
    // Up to the last whole block, and what is behind it.
    assert_eq!((clone.read_at(size - 5, &mut end).unwrap(), &end), (2, &[0, 0, 9, 9, 9, 9, 9, 9]));
    assert_eq!((clone.read_at(size - 3, &mut end).unwrap(), &end), (3, &[0, 0, 0, 9, 9, 9, 9, 9]));
    let mut middle = [0; 4];
    assert_eq!((clone.read_at(4500 * MIB, &mut middle).unwrap(), middle), (4, [2; 4]));
    assert_eq!(content(&after), b"x");
}

#[test]
fn data_and_holes_around_the_last_whole_block_are_one_with_what_is_behind_it() {
    let Some(disk) = LoopDisk::xfs() else { return };
    let tree = tree(&disk.path());
    let mut cloner = Cloner::open(&tree, 1).unwrap().pop().unwrap();
    let mut expect = |name: &str, extents: &[Range<u64>], size: u64, data: &[Range<u64>]| {
        let file = File::create(disk.path().join(name)).unwrap();
        for extent in extents {
            file.write_all_at(&vec![1; (extent.end - extent.start) as usize], extent.start).unwrap();
        }
        file.set_len(size).unwrap();
        let file = tree.open_file(name.as_bytes()).unwrap();
        let clone = cloner.clone_file(&file, &file.stat().unwrap()).unwrap();
        assert_eq!(ranges(&clone, size), data, "{name}");
        assert_eq!(content(&clone), fs::read(disk.path().join(name)).unwrap(), "{name}");
        let (mut offset, mut live) = (0, Vec::new());
        while let Some(range) = file.next_data(offset, size).unwrap() {
            offset = range.end;
            live.push(range);
        }
        assert_eq!(live, data, "{name}: the file itself");
    };
    expect("dense", &[0..10_000], 10_000, &[0..10_000]);
    expect("tail alone", &[65_536..65_600], 65_600, &[65_536..65_600]);
    expect("hole before the tail", &[0..4096, 12_288..12_300], 12_300, &[0..4096, 12_288..12_300]);
    expect("hole at the end", &[0..4096], 12_300, &[0..4096]);
    expect("whole blocks", &[4096..8192], 12_288, &[4096..8192]);
    expect("nothing", &[], 100_000, &[]);
    expect("no block", &[0..5], 5, &[0..5]);
    // What was listed may be shorter than what is asked for, or longer.
    let file = tree.open_file(b"dense").unwrap();
    let clone = cloner.clone_file(&file, &file.stat().unwrap()).unwrap();
    assert_eq!((ranges(&clone, 8000), ranges(&clone, 9000)), (vec![0..8000], vec![0..9000]));
    assert_eq!(
        (clone.next_data(9999, 20_000).unwrap(), clone.next_data(10_000, 20_000).unwrap()),
        (Some(9999..10_000), None)
    );
}

#[test]
fn what_cannot_be_cloned_is_told() {
    let Some(disk) = LoopDisk::mount(&["mkfs.ext4", "-q"], 16 << 20) else { return };
    let error = Cloner::open(&tree(&disk.path()), 2).unwrap_err();
    let told = error.to_string();
    assert!(told.contains(disk.path().to_str().unwrap()) && told.contains("hold") && told.contains("auto"), "{told}");

    // A file of another file system than the root's.
    let Some(xfs) = LoopDisk::xfs() else { return };
    fs::write(disk.path().join("file"), vec![1; 10_000]).unwrap();
    let other = tree(&disk.path());
    let mut cloner = Cloner::open(&tree(&xfs.path()), 1).unwrap().pop().unwrap();
    for _ in 0..2 {
        let file = other.open_file(b"file").unwrap();
        let error = cloner.clone_file(&file, &file.stat().unwrap()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::CrossesDevices);
    }
}
