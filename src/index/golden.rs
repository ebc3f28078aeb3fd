//! The exact bytes of everything that the index keeps. When one of these fails, the next start
//! cannot read what the last release has written: the value is to be left as it was, or [`FORMAT`]
//! to be raised and the old one converted.

use super::{error::encode, tests::path, *};
use crate::{
    model::{
        content::Chunk,
        entry::{Base, Bits, Content, Entry, Provenance, Seen, Standing, Version},
    },
    wire::golden::{hex, vector, version},
};

const STAMP: Stamp = Stamp {
    device: 66_306,
    inode: 1 << 33,
    size: 3,
    mtime_ns: -5,
    ctime_ns: 1_795_348_800_123_456_789,
};

fn rows() -> Vec<(Row, &'static str)> {
    let file = Content::File { size: 3, digest: Digest([0xd1; 32]) };
    let torn = file.clone();
    let link = Content::Symlink { target: (*b"../x").into() };
    let entry = |content| Entry { content, mode: 0o644, mtime_ns: -5, version: version(None) };
    let base = |held| Base { held, seen: Seen::at(STAMP), bits: Bits::kept(0o755) };
    let joined = vector(&[(7, 1), (9, 2), (0x0102_0304_0506_0708, 300)]);
    let merged = Entry { version: version(Some(joined)), ..entry(Some(Content::Directory)) };
    let deleted = Entry {
        version: Version { replaced: Some(Box::new(file.clone())), ..version(None) },
        ..entry(None)
    };
    vec![
        (
            Row::new(entry(Some(file.clone())), Some(base(Provenance::Newest(file.clone())))),
            "010003(d1*32)a40309888e98a8c0e0808101ac0200(aa*8)fbc48299a034020701888e98a8c0e0808101ac0200000001000003(d1*32)82860480808080200309aab4c2f4968eaeea31ed03",
        ),
        (
            Row::new(entry(Some(link.clone())), Some(base(Provenance::Newest(link)))),
            "0102042e2e2f78a40309888e98a8c0e0808101ac0200(aa*8)fbc48299a034020701888e98a8c0e0808101ac02000000010002042e2e2f7882860480808080200309aab4c2f4968eaeea31ed03",
        ),
        (
            Row::new(deleted, None),
            "00a40309888e98a8c0e0808101ac0200(aa*8)fbc48299a034020701888e98a8c0e0808101ac020000010003(d1*32)00",
        ),
        (
            Row::new(merged, Some(base(Provenance::of(file, Some(version(None)))))),
            "0101a40309888e98a8c0e0808101ac0200(aa*8)fbc48299a034020701888e98a8c0e0808101ac02010307010902888e98a8c0e0808101ac02000001010003(d1*32)888e98a8c0e0808101ac0200(aa*8)fbc48299a034020701888e98a8c0e0808101ac0200000082860480808080200309aab4c2f4968eaeea31ed03",
        ),
        (
            Row::new(entry(Some(torn)), Some(base(Provenance::Torn(Box::new(version(None)))))),
            "010003(d1*32)a40309888e98a8c0e0808101ac0200(aa*8)fbc48299a034020701888e98a8c0e0808101ac020000000102888e98a8c0e0808101ac0200(aa*8)fbc48299a034020701888e98a8c0e0808101ac0200000082860480808080200309aab4c2f4968eaeea31ed03",
        ),
    ]
}

#[test]
fn rows_have_the_bytes_of_format_2() {
    assert_eq!(FORMAT, 2, "these are the rows of another format");
    for (row, expected) in rows() {
        let bytes = encode(&row);
        assert_eq!(hex(&bytes), expected, "{row:?}");
        assert_eq!(error::decode::<Row>("row", &bytes).unwrap(), row);
    }
}

/// One byte more, so that ordinary rows keep theirs.
#[test]
fn rows_that_do_not_stand_as_usual_say_so_behind_their_bytes() {
    let doubted = |base: Base| Base { seen: base.seen.unproven(), ..base };
    for (row, expected) in rows().into_iter().filter(|(row, _)| row.base.is_some()) {
        for (standing, is_marked_for_reread, mark) in [
            (Standing::Known, false, ""),
            (Standing::Ignored, false, "01"),
            (Standing::Unknown, false, "02"),
            (Standing::Missing, false, "03"),
            (Standing::Known, true, "04"),
            (Standing::Ignored, true, "05"),
            (Standing::Unknown, true, "06"),
            (Standing::Missing, true, "07"),
        ] {
            let base = row
                .base
                .clone()
                .map(|base| if is_marked_for_reread { doubted(base) } else { base });
            let row = Row { standing, base, ..row.clone() };
            let bytes = encode_row(&row);
            assert_eq!(hex(&bytes), format!("{expected}{mark}"), "{row:?}");
            assert_eq!(decode_row(&bytes).unwrap(), row);
        }
        for unheard in [&[0][..], &[8], &[9], &[1, 1]] {
            assert!(decode_row(&[&encode(&row)[..], unheard].concat()).is_err(), "{unheard:?}");
        }
        let nothing = encode(&Row { base: None, ..row });
        assert!(decode_row(&[&nothing[..], &[4]].concat()).is_err(), "nothing is doubted");
    }
}

#[test]
fn ignore_rules_have_the_bytes_of_format_2() {
    let texts = RuleTexts { now: b"*.o".to_vec(), before: None };
    assert_eq!(hex(&encode(&texts)), "032a2e6f00");
    let texts = RuleTexts { now: Vec::new(), before: Some(b"c/".to_vec()) };
    assert_eq!(hex(&encode(&texts)), "000102632f");
}

#[test]
fn what_is_kept_about_the_whole_has_the_bytes_of_format_2() {
    let summary = Summary {
        origin: Some(Origin(7)),
        former: vec![Origin(300)],
        retired: 5,
        clean_stop: true,
        at_rest: false,
        durable_before_ms: 300,
        boot: b"boot".to_vec(),
        root: Some((66_306, 2)),
        lost: Some(Lost { at_ms: 300, is_compared: true }),
        knowledge: vector(&[(1, 2), (3, 400)]),
        dropped: vector(&[(1, 1)]),
        live: 5,
        here: 4,
        missing: 2,
        hold: Hold::Asked,
        tombstones: 2,
        conflicts: 1,
        wanted_bytes: 300,
        live_digest: u128::MAX - 1,
    };
    assert_eq!(
        hex(&encode(&summary)),
        "010701ac02050100ac0204626f6f74018286040201ac0201020102039003010101050402010201ac02fe(ff*17)03"
    );
    let record = NodeRecord {
        name: "pi".to_owned(),
        address: Some("10.0.0.2:2194".to_owned()),
        seen_ms: 1_795_348_800_123,
        knowledge: vector(&[(1, 2)]),
    };
    assert_eq!(hex(&encode(&record)), "027069010d31302e302e302e323a32313934fbc48299a034010102");
    let chunks = [Chunk { length: 65_536, digest: Digest([0xc4; 32]) }];
    assert_eq!(hex(&encode(&chunks[..])), "01808004(c4*32)");
    assert_eq!(hex(&encode(&FORMAT)), "02");
}

#[test]
fn keys_have_the_bytes_of_format_2() {
    assert_eq!(keys::row(&path("a")), b"\0a");
    assert_eq!(keys::row(&path("a/b/c")), b"a/b\0c");
    for (using, mark) in [(Use::Held, b"\x00"), (Use::Wanted, b"\x01"), (Use::Away, b"\x02")] {
        let key = keys::digest(&Digest([0xd1; 32]), using, &path("a/b"));
        assert_eq!(key, [&[0xd1; 32][..], mark, b"a/b"].concat());
    }
    assert_eq!(keys::segment(&Digest([0xd1; 32]), 258), [&[0xd1; 32][..], &[0, 0, 1, 2]].concat());
}

/// The file that another version leaves is not touched.
#[test]
fn another_format_is_refused_and_says_what_to_do() {
    for (format, way_out) in
        [(FORMAT + 1, "newer p2pnetwork; install"), (FORMAT - 1, "delete .p2pnetwork/index")]
    {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("index");
        tests::write_format(&file, format);
        for _ in 0..2 {
            let Err(error) = Index::open(&file) else { panic!("another format was opened") };
            let text = error.to_string();
            assert!(text.contains(&format!("format {format}")) && text.contains(way_out), "{text}");
        }
    }
}
