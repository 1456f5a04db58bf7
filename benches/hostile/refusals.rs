//! Whether the reason of a refused upload arrives.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::client::basic;
use crate::server::Server;

const SIZE: u64 = 60_000_000;

const PYTHON: &str = "import http.client,sys
path,address,auth,expires=sys.argv[1:5]
c=http.client.HTTPConnection(address)
c.request('PUT','/a',open(path,'rb').read(),{'Authorization':auth,'Burnbag-Expires':expires})
r=c.getresponse()
print(r.status,r.read().decode())";

const NODE: &str = "const [path,address,auth,expires]=process.argv.slice(1);
fetch(`http://${address}/a`,{method:'PUT',body:require('fs').readFileSync(path),headers:{authorization:auth,'burnbag-expires':expires}})
.then(async r=>console.log(r.status,await r.text()),e=>console.log(e,e.cause))";

/// Sends the file at `path`, and prints status and body.
fn command(client: &str, path: &str, address: &str, auth: &str, expires: &str) -> Command {
    let (url, auth_line) = (format!("http://{address}/a"), format!("Authorization: {auth}"));
    let expires_line = format!("Burnbag-Expires: {expires}");
    // Ends a client that hangs.
    let mut command = Command::new("timeout");
    command.arg("30");
    match client {
        "wget" => {
            command.args([
                "wget",
                "-O-",
                "--content-on-error",
                "--tries=1",
                "--method=PUT",
                "--body-file",
                path,
            ]);
            command.args(["--header", &auth_line, "--header", &expires_line, &url]);
        }
        "node fetch" => {
            command.args(["node", "-e", NODE, path, address, auth, expires]);
        }
        "Python http.client" => {
            command.args(["python3", "-c", PYTHON, path, address, auth, expires]);
        }
        curl => {
            command.args(["curl", "-sS", "-T", path, "-H", &auth_line, "-H", &expires_line]);
            command.args(match curl {
                "curl, no Expect" => &["-H", "Expect:"][..],
                "curl, HTTP/2" => &["--http2-prior-knowledge"],
                _ => &[],
            });
            command.arg(&url);
        }
    }
    command
}

const CLIENTS: [&str; 6] =
    ["curl", "curl, no Expect", "curl, HTTP/2", "wget", "node fetch", "Python http.client"];

/// Of all clients, or of those with `only` in their name.
pub fn run(root: &Path, tries: u32, only: &str) {
    let server = Server::burnbag_with(root, &[("MAX_UPLOAD_BYTES", "1000000".to_owned())]);
    let file = tempfile::NamedTempFile::new_in(root).unwrap();
    file.as_file().set_len(SIZE).unwrap();
    let (path, address) = (file.path().to_str().unwrap(), server.address.to_string());
    let (good, bad) = (basic(server.token.as_deref().unwrap()), basic("nonsense"));
    println!("refusals: 60 MB sent, the reason arrived in so many of {tries} tries");
    println!("  {:<20} {:>12} {:>12} {:>12}   median", "", "401", "413", "422");
    for client in CLIENTS.into_iter().filter(|client| client.contains(only)) {
        let mut row = Vec::new();
        let mut times = Vec::new();
        for (auth, expires, code) in [
            (&bad, "1h", "(token_invalid)"),
            (&good, "1h", "(file_too_large)"),
            (&good, "soon", "(option_invalid)"),
        ] {
            let mut arrived = 0;
            for done in 0..tries {
                let begun = Instant::now();
                let output =
                    command(client, path, &address, auth, expires).stdin(Stdio::null()).output().unwrap();
                times.push(begun.elapsed());
                let said = String::from_utf8_lossy(&output.stdout);
                // wget shows the status of a 401, and never its body.
                let shown = String::from_utf8_lossy(&output.stderr);
                let by_wget =
                    client == "wget" && code == "(token_invalid)" && shown.contains("401 Unauthorized");
                if said.contains(code) || by_wget {
                    arrived += 1;
                } else if done - arrived < 3 {
                    println!("    {client}: {said}{shown}");
                }
            }
            row.push(arrived);
        }
        times.sort();
        let median: Duration = times[times.len() / 2];
        println!("  {client:<20} {:>12} {:>12} {:>12}   {} ms", row[0], row[1], row[2], median.as_millis());
    }
}
