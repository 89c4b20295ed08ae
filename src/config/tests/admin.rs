//! The `admin` section as data.

use super::*;
use crate::config::load_all;

#[test]
fn an_admin_section_is_read_or_told() {
    check(
        "admin:\n  tokens:\n  - {name: a, role: admin, token: x}\n  - {name: a, role: reader, token: x, token_file: y}\n  - {token: x}\n  - {name: c, role: admin}\n  - {name: d, role: admin, token: x, rôle: y}\n  burst: 0\n  hosts: ['a:1', b]\n  read_only_users: ['']\n  requests_per_seconds: 5\n",
        &[
            "4:5: a token needs one of `token` and `token_file`",
            "4:21: `role`: expected `read_only`, `admin`, found `reader`",
            "5:5: a token has no `name`",
            "5:5: a token has no `role`",
            "6:5: a token needs one of `token` and `token_file`",
            "7:38: unknown key `rôle` in `tokens entry`",
            "8:10: `burst`: expected a whole number from 1",
            "9:11: `hosts`: expected a host name without a port, found `a:1`",
            "10:21: `read_only_users`: an entry is empty",
            "11:3: unknown key `requests_per_seconds` in `admin`; did you mean `requests_per_second`?",
        ],
    );
    check(
        "admin: {tokens: [{name: a, role: admin, token: x}, {name: a, role: admin, token: y}]}\n",
        &["1:52: `tokens`: the name `a` comes twice"],
    );
    let text = "admin: {tokens: [{name: a, role: read_only, token: hunter2}], hosts: [Flock.example], burst: 7}\n";
    let config = read(text).expect("good");
    let admin = &config.admin;
    assert_eq!((admin.burst, admin.requests_per_second), (7, 100));
    assert_eq!(admin.hosts, ["flock.example"]);
    assert_eq!(admin.tokens[0].role, Role::ReadOnly);
    assert!(!format!("{config:?}").contains("hunter2"));
    let shown = show::show(&config);
    assert!(shown.contains("name: a\n") && shown.contains("burst: 7\n"), "{shown}");
    assert!(!shown.contains("hunter2"), "{shown}");
}

#[test]
fn tokens_are_read_from_files_and_looked_at() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).expect("written");
        path
    };
    let long = "0123456789abcdef";
    file("one", &format!("{long}\n"));
    file("two", long);
    file("blank", "a b");
    let main = file(
        "starling.yml",
        "admin:\n  tokens:\n  - {name: one, role: admin, token_file: one}\n  - {name: short, role: admin, token: x}\n  read_only_users: [nobody]\n  read_only_clients: [a.example]\n",
    );
    let load = |web: Option<&Path>| load_all(&main, web, &TypedCluster::default(), &|_| None);
    let mut config = load(None).expect("good");
    assert_eq!(config.admin.tokens[0].key, None);
    unlock(&mut config).expect("all can be read");
    assert_eq!(config.admin.tokens[0].key.as_ref().map(Secret::expose), Some(long));
    assert!(config.files.contains(&folder.path().join("one")), "a change of it is a reload");
    compare(
        &config.warnings,
        &[
            "the token `short` is shorter than 16 bytes",
            "`read_only_users` names `nobody`",
            "`read_only_clients` has no effect",
        ],
    );

    let web = file(
        "web.yml",
        "basic_auth_users: {nobody: '$2y$10$4vWKQ6jE6WCgbSLDkPeYaO9qVgHtjdmBe1bzEEG.ydzZvV5dTUr0m'}\n",
    );
    let mut config = load(Some(&web)).expect("good");
    assert!(config.files.contains(&web));
    unlock(&mut config).expect("all can be read");
    assert!(!config.warnings.iter().any(|warning| warning.contains("nobody")));

    file(
        "starling.yml",
        "admin:\n  tokens:\n  - {name: one, role: admin, token_file: one}\n  - {name: two, role: admin, token_file: two}\n  - {name: blank, role: admin, token_file: blank}\n  - {name: gone, role: admin, token_file: gone}\n",
    );
    let mut config = load(None).expect("good");
    let faults = unlock(&mut config).expect_err("three are wrong");
    let faults: Vec<String> = faults.lines().map(str::to_owned).collect();
    compare(
        &faults,
        &[
            "the token `blank` has a blank",
            &format!(
                "the token `gone` in `{}` cannot be read",
                folder.path().join("gone").display()
            ),
            "the tokens `one` and `two` are the same",
        ],
    );

    // What is wrong with both files is told at once.
    file("starling.yml", "a: 1\n");
    file("web.yml", "b: 1\n");
    let problems = load(Some(&web)).expect_err("both are wrong").to_string();
    assert!(problems.contains("key `a`") && problems.contains("key `b`"), "{problems}");
}
