//! Every route and every layer, in order.

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn_with_state;
use axum::routing::{any, delete, get, patch, post};
use tower_http::catch_panic::CatchPanicLayer;

use super::limit;
use super::state::AppState;
use super::{
    accounts, layers, link, links, listing, plain, send, session, teams, tokens, transfer_page, transfers,
};
use crate::transfer::rate::Rate;

/// The whole of burnbag's HTTP.
pub fn router(state: AppState, rate: Option<Rate>) -> Router {
    // A PUT takes any one segment at the root, so that no file's name collides with a route.
    let routes = Router::new()
        .route("/", get(plain::home).put(send::put).post(send::post))
        .route("/livez", get(plain::livez).put(send::put))
        .route("/readyz", get(plain::readyz).put(send::put))
        .route("/robots.txt", get(plain::robots).put(send::put))
        .route("/login", get(session::page).post(session::login).put(send::put))
        .route("/logout", post(session::logout).put(send::put))
        .route("/{name}", get(plain::nothing).put(send::put))
        .route("/transfers/{id}", get(transfer_page::show))
        .route("/transfers/{id}/end", post(transfer_page::end))
        .route("/transfers/{id}/links/{link}/revoke", post(transfer_page::revoke))
        .route("/assets/{file}", get(plain::asset))
        .route("/problems/{code}", get(plain::problem))
        .route("/d/{link}", get(link::link).post(link::ticket).delete(link::delete))
        .route("/d/{link}/", get(link::index))
        .route("/d/{link}/ticket", get(link::below).post(link::ticket))
        .route("/d/{link}/{*path}", get(link::below))
        .route("/api/v1/me", get(listing::me))
        .route("/api/v1/limits", get(listing::limits))
        .route("/api/v1/transfers", get(listing::list))
        .route(
            "/api/v1/transfers/{id}",
            get(transfers::show).patch(transfers::change).delete(transfers::delete),
        )
        .route("/api/v1/transfers/{id}/links", get(links::list).post(links::create))
        .route("/api/v1/transfers/{id}/links/{link}", get(links::show).delete(links::revoke))
        .route("/api/v1/transfers/{id}/links/{link}/unlock", post(links::unlock))
        .route("/api/v1/tokens", get(tokens::list).post(tokens::create))
        .route("/api/v1/tokens/{id}", delete(tokens::revoke))
        .route("/api/v1/accounts", get(accounts::list).post(accounts::create))
        .route("/api/v1/accounts/{id}", patch(accounts::change).delete(accounts::remove))
        .route("/api/v1/teams", get(teams::list).post(teams::create))
        .route("/api/v1/teams/{id}", patch(teams::change).delete(teams::remove))
        .fallback(any(plain::nothing))
        .method_not_allowed_fallback(plain::method)
        .with_state(state.clone());

    // The last layer sees a request first.
    routes
        .layer(DefaultBodyLimit::disable())
        .layer(axum::middleware::from_fn(layers::refuse_secrets))
        .layer(from_fn_with_state(state.clone(), layers::refuse_cross_site))
        .layer(limit::layer(rate))
        .layer(CatchPanicLayer::custom(layers::panicked))
        .layer(from_fn_with_state(state.clone(), layers::tell))
        .layer(from_fn_with_state(state, layers::origin))
}
