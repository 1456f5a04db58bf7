//! `burnbag team`, `account` and `token` beside a running service.

use serde_json::Value;

use crate::access::Api;
use crate::support::{Server, text};

/// What a command prints on stdout; it must succeed.
fn does(server: &Server, arguments: &[&str]) -> String {
    let done = server.burnbag(arguments);
    assert!(done.status.success(), "{arguments:?}: {}", text(&done.stderr));
    text(&done.stdout).trim().to_owned()
}

/// What a command says on stderr; it must fail.
fn fails(server: &Server, arguments: &[&str]) -> String {
    let done = server.burnbag(arguments);
    assert!(!done.status.success(), "{arguments:?}");
    assert_eq!(text(&done.stdout), "", "{arguments:?}");
    text(&done.stderr)
}

#[tokio::test(flavor = "multi_thread")]
async fn teams_accounts_and_tokens_are_kept_from_the_command_line() {
    let server = super::serve(&[]).await;
    let team = does(&server, &["team", "create", "legal", "--bytes", "5GiB", "--expires", "7d"]);
    assert_eq!(team.len(), 32);
    let teams = does(&server, &["team", "list"]);
    assert!(teams.contains(&team) && teams.contains("5368709120") && teams.contains("7d"), "{teams}");
    does(&server, &["account", "create", "ann", "--team", "legal", "--role", "admin"]);
    does(&server, &["account", "create", "bob", "--team", "legal"]);
    let token = does(&server, &["token", "create", "--account", "bob"]);
    let scoped = ["token", "create", "--account", "ann", "--scope", "accounts.manage,tokens.own"];
    let ann = Api::of(&server, &does(&server, &scoped));
    assert_eq!((ann.get("/api/v1/accounts").await.0, ann.send().await.0), (200, 403), "its scope holds");
    let bob = Api::of(&server, &token);
    let link = bob.send().await.1.unwrap();
    let accounts = does(&server, &["account", "list", "--team", "legal"]);
    assert!(
        accounts.contains("ann") && accounts.contains("member") && !accounts.contains("default"),
        "{accounts}"
    );
    assert!(
        !accounts.contains(&token) && !does(&server, &["token", "list", "--account", "bob"]).contains(&token)
    );

    does(&server, &["account", "set", "bob", "--role", "auditor"]);
    assert_eq!(bob.send().await.0, 403);
    does(&server, &["account", "disable", "bob"]);
    assert_eq!(bob.get("/api/v1/tokens").await.0, 401);
    assert!(does(&server, &["account", "list"]).contains("disabled"));
    does(&server, &["account", "enable", "bob"]);
    assert_eq!(bob.get("/api/v1/tokens").await.0, 200);
    does(&server, &["account", "remove", "bob"]);
    assert_eq!(bob.get("/api/v1/tokens").await.0, 401);

    does(&server, &["team", "set", "legal", "--name", "law", "--bytes", "none", "--uploads", "3"]);
    let teams: Value = Api::of(&server, &server.token).get("/api/v1/teams").await.1;
    let law = teams["items"].as_array().unwrap().iter().find(|team| team["name"] == "law").unwrap().clone();
    assert!(
        law["limits"]["bytes"].is_null()
            && law["limits"]["uploads"] == 3
            && law["limits"]["expires"] == 604_800
    );
    assert!(fails(&server, &["team", "remove", "law"]).contains("1 live transfers"));
    assert_eq!(
        Api::of(&server, &server.token).delete(&format!("/api/v1/transfers/{}", link.transfer)).await.0,
        404,
        "not even the operator's admin ends another team's"
    );
    for (arguments, said) in [
        (&["account", "set", "ann", "--role", "member"][..], "make another account an admin first"),
        (&["account", "disable", "admin"], "make another account an admin first"),
        (&["account", "set", "ann", "--role", "root"], "one of admin, member, service, auditor, approver"),
        (&["account", "remove", "nobody"], "`burnbag account list`"),
        (&["account", "create", "ann"], "already"),
        (&["account", "create", "x", "--team", "nowhere"], "`burnbag team list`"),
        (&["account", "create", "A"], "1 to 64 characters"),
        (&["team", "create", "law"], "already"),
        (&["team", "create", "x", "--bytes", "0"], "or none"),
        (&["team", "create", "x", "--transfers", "-1"], "none"),
        (&["team", "create", "x", "--uploads", "1000000000000000000000000000000"], "or none"),
        (&["team", "remove", "default"], "the operator's own team"),
        (&["token", "create", "--scope", "send"], "transfers.send"),
        (
            &["token", "create", "--account", "ann", "--reset", "--scope", "teams.manage"],
            "ann may do as admin",
        ),
    ] {
        let stderr = fails(&server, arguments);
        assert!(stderr.contains(said), "{arguments:?}: {stderr}");
    }
    for command in ["team", "account", "token"] {
        let help = does(&server, &[command, "--help"]);
        assert!(help.contains("create") && help.contains("list"), "{help}");
    }
    assert!(!server.log().contains(&token));
}

#[test]
fn the_readme_shows_the_table_of_roles() {
    use burnbag::transfer::access::{Capability, Role};
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    let roles: Vec<&str> = Role::ALL.iter().map(|role| role.as_str()).collect();
    assert!(readme.contains(&format!("| capability | {} |", roles.join(" | "))), "the head of the table");
    for capability in Capability::ALL {
        let cells =
            Role::ALL.iter().map(|role| if role.capabilities().contains(capability) { "x" } else { "" });
        let cells: Vec<String> = cells.map(|cell| format!(" {cell} ").replace("  ", " ")).collect();
        let row = format!("| `{capability}` |{}|", cells.join("|"));
        assert!(readme.contains(&row), "README.md lacks: {row}");
    }
}
