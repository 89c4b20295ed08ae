//! What a new configuration changes, line by line, as it is shown: without secrets. Pure.

use crate::history::entry::CHANGES_BYTES_MAX;

/// Lines of each that are compared one by one, once what is alike at both ends is off; of larger
/// changes all lines are told as gone and come.
const LINES_MAX: usize = 1_000;

/// `-` before what is gone, `+` before what came; a line above each stretch tells where, by what it
/// hangs below.
pub(super) fn changes(before: &str, after: &str) -> String {
    let (before, after): (Vec<&str>, Vec<&str>) =
        (before.lines().collect(), after.lines().collect());
    let alike = before.iter().zip(&after).take_while(|(one, other)| one == other).count();
    let (old, new) = (&before[alike..], &after[alike..]);
    let tail = old.iter().rev().zip(new.iter().rev()).take_while(|(a, b)| a == b).count();
    let (old, new) = (&old[..old.len() - tail], &new[..new.len() - tail]);
    let mut text = String::new();
    let mut last = None;
    for (sign, at, line) in edits(old, new) {
        let place = alike + at;
        if last.is_none_or(|last: usize| place > last + 1) {
            for above in above(&after, place, line) {
                push(&mut text, ' ', above);
            }
        }
        last = Some(place);
        push(&mut text, sign, line);
        if text.len() > CHANGES_BYTES_MAX {
            return crate::history::entry::cut(&text, CHANGES_BYTES_MAX);
        }
    }
    text
}

fn push(text: &mut String, sign: char, line: &str) {
    text.push(sign);
    text.push_str(line);
    text.push('\n');
}

/// What to take out of `old` and put in for `new`, each with its place in `new`.
fn edits<'a>(old: &[&'a str], new: &[&'a str]) -> Vec<(char, usize, &'a str)> {
    if old.len() > LINES_MAX || new.len() > LINES_MAX {
        let gone = old.iter().map(|line| ('-', 0, *line));
        let came = new.iter().enumerate().map(|(at, line)| ('+', at, *line));
        return gone.chain(came).collect();
    }
    // How many lines the rests from here on have in common.
    let width = new.len() + 1;
    let mut common = vec![0_u16; (old.len() + 1) * width];
    for i in (0..old.len()).rev() {
        for j in (0..new.len()).rev() {
            common[i * width + j] = if old[i] == new[j] {
                common[(i + 1) * width + j + 1] + 1
            } else {
                common[(i + 1) * width + j].max(common[i * width + j + 1])
            };
        }
    }
    let (mut i, mut j, mut edits) = (0, 0, Vec::new());
    while i < old.len() || j < new.len() {
        if i < old.len() && j < new.len() && old[i] == new[j] {
            (i, j) = (i + 1, j + 1);
        } else if j == new.len()
            || i < old.len() && common[(i + 1) * width + j] >= common[i * width + j + 1]
        {
            edits.push(('-', j, old[i]));
            i += 1;
        } else {
            edits.push(('+', j, new[j]));
            j += 1;
        }
    }
    edits
}

/// The lines that `line`, in the place of line `at`, hangs below: each further out than the one
/// after it.
fn above<'a>(lines: &[&'a str], at: usize, line: &str) -> Vec<&'a str> {
    let mut depth = depth_of(line);
    let mut above = Vec::new();
    for line in lines[..at.min(lines.len())].iter().rev() {
        if depth_of(line) < depth {
            depth = depth_of(line);
            above.push(*line);
        }
    }
    above.reverse();
    above
}

/// A list's entry hangs below the key in the same column.
fn depth_of(line: &str) -> usize {
    let text = line.trim_start();
    2 * (line.len() - text.len()) + usize::from(text.starts_with('-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changed_is_told_with_its_place() {
        let check = |before: &str, after: &str, expected: &str| {
            assert_eq!(changes(before, after), expected);
        };
        check("", "", "");
        check("a: 1\n", "a: 1\n", "");
        check("a: 1\nb: 2\n", "a: 1\nb: 3\n", "-b: 2\n+b: 3\n");
        let jobs = "global:\n  x: 1\njobs:\n- name: a\n  path: /a\n- name: b\n  path: /b\n";
        check(jobs, &jobs.replace("/b", "/c"), " jobs:\n - name: b\n-  path: /b\n+  path: /c\n");
        check(
            jobs,
            "global:\n  x: 2\njobs:\n- name: a\n  path: /a\n",
            " global:\n-  x: 1\n+  x: 2\n jobs:\n-- name: b\n-  path: /b\n",
        );
    }

    #[test]
    fn a_large_change_is_bounded() {
        let lines = |word: &str| {
            let lines: Vec<String> = (0..5_000).map(|n| format!("{word}{n}")).collect();
            lines.join("\n")
        };
        let found = changes(&lines("a"), &lines("b"));
        assert!(
            found.starts_with("-a0\n-a1\n") && found.len() <= CHANGES_BYTES_MAX,
            "{}",
            found.len()
        );
        assert!(found.ends_with('…'));
    }
}
