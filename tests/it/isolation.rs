//! Every route, for every role, of the team that owns what is asked for and of another: the right status each time, and nothing of
//! the one team in any answer to another (DESIGN §11).
//!
//! The routes are read from `src/http/router.rs`: one without a row fails the test, and so does a row without a route.

use std::collections::BTreeSet;

use reqwest::{Client, RequestBuilder, Response};
use serde_json::{Value, json};

use crate::support::{Link, Server};

/// Who asks. The order is that of the columns in [`ROWS`].
const CALLERS: [&str; 10] = [
    "nobody",
    "admin",
    "owner",
    "member",
    "service",
    "auditor",
    "approver",
    "foreign admin",
    "foreign member",
    "operator",
];
const ADMIN: usize = 1;
const OWNER: usize = 2;
const FOREIGN: std::ops::Range<usize> = 7..10;
const OPERATOR: usize = 9;

/// What each of [`CALLERS`] is answered.
type Statuses = [u16; 10];

const ALL_200: Statuses = [200; 10];
const ALL_401: Statuses = [401; 10];
const ALL_404: Statuses = [404; 10];
const SENDS: Statuses = [401, 201, 201, 201, 201, 403, 403, 201, 201, 201];
const ANY_TOKEN: Statuses = [401, 200, 200, 200, 200, 200, 200, 200, 200, 200];
const TEAM_SEES: Statuses = [401, 200, 200, 200, 200, 200, 200, 404, 404, 404];
const ENDS: Statuses = [401, 204, 204, 403, 403, 403, 403, 404, 404, 404];
const ENDS_BY_FORM: Statuses = [401, 303, 303, 403, 403, 403, 403, 404, 404, 404];
const ADMINS: Statuses = [401, 200, 403, 403, 403, 403, 403, 200, 403, 200];

/// Method and path as in the router, and what each caller is answered.
#[rustfmt::skip] // A line a route.
const ROWS: &[(&str, &str, Statuses)] = &[
    ("GET", "/", ALL_200),
    ("PUT", "/", SENDS),
    ("POST", "/", SENDS),
    ("GET", "/livez", ALL_200),
    ("PUT", "/livez", SENDS),
    ("GET", "/readyz", ALL_200),
    ("PUT", "/readyz", SENDS),
    ("GET", "/robots.txt", ALL_200),
    ("PUT", "/robots.txt", SENDS),
    ("GET", "/login", ALL_200),
    ("POST", "/login", [401, 303, 303, 303, 303, 303, 303, 303, 303, 303]),
    ("PUT", "/login", SENDS),
    ("POST", "/logout", [303; 10]),
    ("PUT", "/logout", SENDS),
    ("GET", "/{name}", ALL_404),
    ("PUT", "/{name}", SENDS),
    ("GET", "/assets/{file}", ALL_200),
    ("GET", "/problems/{code}", ALL_200),
    ("GET", "/transfers/{id}", TEAM_SEES),
    ("POST", "/transfers/{id}/end", ENDS_BY_FORM),
    ("POST", "/transfers/{id}/links/{link}/revoke", ENDS_BY_FORM),
    // A token opens nothing below a link.
    ("GET", "/d/{link}", ALL_401),
    ("GET", "/d/{link}/", ALL_401),
    ("GET", "/d/{link}/ticket", ALL_401),
    ("GET", "/d/{link}/{*path}", ALL_401),
    ("POST", "/d/{link}", ALL_404),
    ("POST", "/d/{link}/ticket", ALL_404),
    ("DELETE", "/d/{link}", ENDS),
    ("GET", "/api/v1/me", ANY_TOKEN),
    ("GET", "/api/v1/limits", ALL_200),
    ("GET", "/api/v1/transfers", ANY_TOKEN),
    ("GET", "/api/v1/transfers/{id}", TEAM_SEES),
    ("PATCH", "/api/v1/transfers/{id}", [401, 403, 200, 403, 403, 403, 403, 404, 404, 404]),
    ("DELETE", "/api/v1/transfers/{id}", ENDS),
    ("GET", "/api/v1/transfers/{id}/links", TEAM_SEES),
    ("POST", "/api/v1/transfers/{id}/links", [401, 403, 201, 403, 403, 403, 403, 404, 404, 404]),
    ("GET", "/api/v1/transfers/{id}/links/{link}", TEAM_SEES),
    ("DELETE", "/api/v1/transfers/{id}/links/{link}", ENDS),
    ("POST", "/api/v1/transfers/{id}/links/{link}/unlock", ENDS),
    ("GET", "/api/v1/tokens", ANY_TOKEN),
    ("POST", "/api/v1/tokens", [401, 201, 201, 201, 201, 201, 201, 201, 201, 201]),
    // A token of the owner.
    ("DELETE", "/api/v1/tokens/{id}", [401, 204, 204, 403, 403, 403, 403, 404, 404, 404]),
    ("GET", "/api/v1/accounts", ADMINS),
    ("POST", "/api/v1/accounts", [401, 201, 403, 403, 403, 403, 403, 201, 403, 201]),
    ("PATCH", "/api/v1/accounts/{id}", [401, 200, 403, 403, 403, 403, 403, 404, 403, 404]),
    ("DELETE", "/api/v1/accounts/{id}", [401, 204, 403, 403, 403, 403, 403, 404, 403, 404]),
    ("GET", "/api/v1/teams", ANY_TOKEN),
    ("POST", "/api/v1/teams", [401, 403, 403, 403, 403, 403, 403, 403, 403, 201]),
    // The operator manages teams and sees nothing in them; to others another team is not there.
    ("PATCH", "/api/v1/teams/{id}", [401, 403, 403, 403, 403, 403, 403, 404, 404, 200]),
    ("DELETE", "/api/v1/teams/{id}", [401, 403, 403, 403, 403, 403, 403, 404, 404, 409]),
];

/// Routes that show the operator what teams there are.
const OF_TEAMS: &str = "/api/v1/teams";

/// `GET /d/{link}` and so on, out of the text of the router.
fn routes() -> BTreeSet<(String, String)> {
    let text = include_str!("../../src/http/router.rs");
    let mut routes = BTreeSet::new();
    for call in text.split(".route(").skip(1) {
        let (path, methods) = call.split_once(',').unwrap();
        let mut depth = 1;
        let end = methods.find(|c| {
            depth += i32::from(c == '(') - i32::from(c == ')');
            depth == 0
        });
        let methods = &methods[..end.unwrap()];
        for method in ["get", "put", "post", "patch", "delete", "any", "head", "options"] {
            let names = methods.match_indices(&format!("{method}(")).any(|(at, _)| {
                !methods[..at].ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':')
            });
            if names {
                routes.insert((method.to_ascii_uppercase(), path.trim().trim_matches('"').to_owned()));
            }
        }
    }
    assert!(routes.len() > 30, "only {} routes were found", routes.len());
    routes
}

#[test]
fn every_route_has_a_row_and_every_row_a_route() {
    let rows: BTreeSet<_> =
        ROWS.iter().map(|(method, path, _)| ((*method).to_owned(), (*path).to_owned())).collect();
    assert_eq!(rows.len(), ROWS.len(), "a row stands twice");
    let routes = routes();
    let missing: Vec<_> = routes.difference(&rows).collect();
    let left: Vec<_> = rows.difference(&routes).collect();
    assert!(missing.is_empty() && left.is_empty(), "no row: {missing:?}; no route: {left:?}");
}

/// The name of what is sent: nobody outside the team may see it.
const NAME: &str = "only-for-us.txt";
/// What the names of the team and of its accounts begin with.
const OURS: &str = "ours-";

/// Two teams beside the operator's; the first has somebody of every role.
struct House {
    server: Server,
    client: Client,
    /// In the order of [`CALLERS`].
    tokens: Vec<String>,
    /// The first team.
    team: String,
}

/// What a path can name, made anew for each request.
struct Things {
    ids: Vec<(&'static str, String)>,
    /// What must not be seen from outside the team.
    secrets: Vec<String>,
}

impl House {
    async fn build() -> Self {
        let server = super::serve(&[]).await;
        let client = Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        let mut tokens = vec![String::new(); CALLERS.len()];
        tokens[OPERATOR].clone_from(&server.token);
        let mut house = Self { server, client, tokens, team: String::new() };
        let ours = house.team(&format!("{OURS}team"), &format!("{OURS}admin")).await;
        let theirs = house.team("theirs", "their-admin").await;
        house.team = text(&ours["id"]);
        house.tokens[ADMIN] = text(&ours["token"]);
        house.tokens[7] = text(&theirs["token"]);
        for (place, role) in
            [(OWNER, "member"), (3, "member"), (4, "service"), (5, "auditor"), (6, "approver")]
        {
            let name = format!("{OURS}{}", CALLERS[place]);
            house.tokens[place] = house.account(&name, role, ADMIN).await.1;
        }
        house.tokens[8] = house.account("their-member", "member", 7).await.1;
        house
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.server.url)
    }

    async fn made(&self, path: &str, body: Value, by: usize) -> Value {
        let post = self.client.post(self.url(path)).json(&body).bearer_auth(&self.tokens[by]);
        let answer = post.send().await.unwrap();
        let status = answer.status();
        let text = answer.text().await.unwrap();
        assert_eq!(status, 201, "{path}: {text}");
        serde_json::from_str(&text).unwrap()
    }

    async fn team(&self, name: &str, admin: &str) -> Value {
        self.made("/api/v1/teams", json!({"name": name, "admin": admin}), OPERATOR).await
    }

    /// The id of a new account, and its first token.
    async fn account(&self, name: &str, role: &str, by: usize) -> (String, String) {
        let account = self.made("/api/v1/accounts", json!({"name": name, "role": role}), by).await;
        let token = self.made("/api/v1/tokens", json!({"account": account["id"]}), by).await;
        (text(&account["id"]), text(&token["token"]))
    }

    async fn things(&self, path: &str, n: usize) -> Things {
        let put = self.client.put(self.url(&format!("/{NAME}"))).bearer_auth(&self.tokens[OWNER]);
        let answer = put.body("ours").send().await.unwrap();
        let transfer = answer.headers()["burnbag-transfer"].to_str().unwrap().to_owned();
        let link = Link::parse(answer.text().await.unwrap().trim_end(), &transfer);
        let link_id = link.url.rsplit('/').next().unwrap().to_owned();
        let id = if path.contains("/tokens/") {
            text(&self.made("/api/v1/tokens", json!({}), OWNER).await["id"])
        } else if path.contains("/accounts/") {
            self.account(&format!("{OURS}{n}"), "member", ADMIN).await.0
        } else if path.contains("/teams/") {
            self.team.clone()
        } else {
            transfer.clone()
        };
        // What the asker says in the address comes back in places; what he did not say must not.
        let secrets = vec![OURS.to_owned(), NAME.to_owned(), link.secret, self.team.clone()];
        let ids = vec![
            ("{link}", link_id),
            ("{id}", id),
            ("{file}", "style.css".to_owned()),
            ("{code}", "internal".to_owned()),
            ("{name}", "a-name".to_owned()),
            ("{*path}", "some.txt".to_owned()),
        ];
        Things { ids, secrets }
    }

    async fn ask(&self, method: &str, route: &str, things: &Things, by: usize, n: usize) -> Response {
        let path = things.ids.iter().fold(route.to_owned(), |path, (name, id)| path.replace(name, id));
        let request = self.client.request(method.parse().unwrap(), self.url(&path));
        let request = body(request, method, route, &self.tokens[by], n);
        let request =
            if self.tokens[by].is_empty() { request } else { request.bearer_auth(&self.tokens[by]) };
        request.send().await.unwrap()
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned()
}

fn form(request: RequestBuilder, body: String) -> RequestBuilder {
    request.header("content-type", "application/x-www-form-urlencoded").body(body)
}

/// A body that would be taken, were the caller allowed.
fn body(request: RequestBuilder, method: &str, route: &str, token: &str, n: usize) -> RequestBuilder {
    match (method, route) {
        ("PUT", _) => request.body("bytes"),
        ("POST", "/") => {
            let part = reqwest::multipart::Part::text("bytes").file_name("f");
            request.multipart(reqwest::multipart::Form::new().part("file", part))
        }
        ("POST", "/login") => form(request, format!("token={token}")),
        ("POST", "/d/{link}") => form(request, format!("secret={}", "A".repeat(43))),
        ("POST", "/d/{link}/ticket") => request.json(&json!({"secret": "A".repeat(43)})),
        ("PATCH", "/api/v1/transfers/{id}") => request.json(&json!({"deadline": "2h"})),
        ("PATCH", "/api/v1/accounts/{id}") => request.json(&json!({"role": "auditor"})),
        ("POST", "/api/v1/accounts") => request.json(&json!({"name": format!("new-{n}"), "role": "member"})),
        ("POST", "/api/v1/teams") => request.json(&json!({"name": format!("new-{n}")})),
        ("PATCH", "/api/v1/teams/{id}") => request.json(&json!({"limits": {"uploads": 100}})),
        ("POST", _) => request.json(&json!({})),
        _ => request,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_role_of_each_team_is_answered_as_the_table_says_and_told_nothing_of_another() {
    let house = House::build().await;
    let mut wrong = Vec::new();
    let mut n = 0;
    for (method, route, statuses) in ROWS {
        for (by, expected) in statuses.iter().enumerate() {
            n += 1;
            let things = house.things(route, n).await;
            let answer = house.ask(method, route, &things, by, n).await;
            let got = answer.status().as_u16();
            let headers = format!("{:?}", answer.headers());
            let said = format!("{headers}\n{}", answer.text().await.unwrap());
            if got != *expected {
                wrong.push(format!("{method} {route} by {}: {got}, not {expected}\n{said}", CALLERS[by]));
            }
            let sees_teams = by == OPERATOR && route.starts_with(OF_TEAMS);
            if (FOREIGN.contains(&by) || by == 0) && !sees_teams {
                for secret in things.secrets.iter().filter(|secret| said.contains(secret.as_str())) {
                    wrong.push(format!("{method} {route} tells {} of {secret}\n{said}", CALLERS[by]));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n\n"));
}
