//! The one place where a counter is born.
//!
//! A row here is all it takes: the page, the Prometheus text, the command line and
//! `docs/counters.md` come from it. The help says what the figure means and then what to do when it
//! moves. Order is free; related rows stand together. The kinds are `counter`, `gauge`, `high` (a
//! high-water mark) and `histogram`; a compile-time check refuses a bad or repeated name.

catalogue! {
    counter SessionsOpened "sessions_opened_total" Sessions Info
        "Sessions begun on any wire since the start. Opened minus closed equals sessions; a rise without a rise of sessions means clients reconnect in a loop.";
    counter SessionsClosed "sessions_closed_total" Sessions Info
        "Sessions that ended, for any reason; the session_close_… counters say why.";
    counter SessionsRefused "sessions_refused_total" Sessions Info
        "Sessions that were not begun because their worker was full or ending. Outside of a shutdown: add workers.";
    gauge Sessions "sessions" Sessions Info
        "Sessions open now, HTTP connections, event streams and long polls included. Near max_connections: raise it together with the limit on open files.";
    counter SessionsPaused "sessions_paused_total" Times Info
        "Times a session was not read from because it did not read our answers. One client often: it sends faster than it reads.";
    counter SessionsParked "sessions_parked_total" Times Info
        "Times a session was not read from because a worker's inbox was nearly full. Frequent: the gateway is at its limit; add workers or spread the load.";
    counter SessionPanics "session_panics_total" Errors Info
        "Turns that a bug of ours ended early. Any rise: please report the log line beside it.";
    counter CloseBadData "session_close_bad_data_total" Sessions Info
        "Sessions ended by text that was not UTF-8. Look at the client.";
    counter CloseClosed "session_close_closed_total" Sessions Info
        "Sessions that the peer ended in its protocol's way, by a close frame or /quit. Nothing to do.";
    counter CloseEnded "session_close_ended_total" Sessions Info
        "Sessions whose peer closed the connection. Nothing to do.";
    counter CloseHandshakeTimeout "session_close_handshake_timeout_total" Sessions Info
        "Connections that did not finish a handshake within handshake_timeout: port scanners, half-open clients. Many: look at who connects.";
    counter CloseIdleTimeout "session_close_idle_timeout_total" Sessions Info
        "Sessions that sent nothing for their listener's idle_timeout. Raise it if such peers are wanted.";
    counter CloseInternal "session_close_internal_total" Sessions Info
        "Sessions ended by a fault of the gateway. Any rise: please report the log line beside it.";
    counter CloseKicked "session_close_kicked_total" Sessions Info
        "Sessions ended over the API or by the embedding program.";
    counter CloseLeaseExpired "session_close_lease_expired_total" Sessions Info
        "UDP sessions not heard of for udp_lease. Normal where devices come and go.";
    counter CloseLifetimeOver "session_close_lifetime_over_total" Sessions Info
        "Sessions that lasted for their listener's max_lifetime. Nothing to do.";
    counter CloseLimitReached "session_close_limit_reached_total" Sessions Info
        "Sessions that found no place. Raise the limit that the log names.";
    counter ClosePolicyViolation "session_close_policy_violation_total" Sessions Info
        "Sessions ended for breaking a rule of ours, such as max_fragments. Look at the client.";
    counter ClosePongTimeout "session_close_pong_timeout_total" Sessions Info
        "WebSocket sessions that did not answer a ping within pong_timeout: their network went away.";
    counter CloseProgramEnded "session_close_program_ended_total" Sessions Info
        "Sessions of exec listeners whose program ended. Nothing to do.";
    counter CloseProgramFailed "session_close_program_failed_total" Sessions Info
        "Sessions of exec listeners whose program could not be started. See exec.command, and the limit on processes.";
    counter CloseProgramLimit "session_close_program_limit_total" Sessions Info
        "Sessions of exec listeners whose program reached max_time or max_output. Raise it if such are wanted.";
    counter CloseProtocolError "session_close_protocol_error_total" Sessions Info
        "Sessions ended for breaking their protocol, as by an unmasked frame. Look at the client.";
    counter CloseReset "session_close_reset_total" Sessions Info
        "Sessions whose connection was reset or failed. Many at once: look at the network.";
    counter CloseShutdown "session_close_shutdown_total" Sessions Info
        "Sessions closed politely while the gateway drained.";
    counter CloseShutdownCut "session_close_shutdown_cut_total" Sessions Info
        "Sessions cut at the end of a drain. Raise gateway.drain if this matters.";
    counter CloseSlow "session_close_slow_total" Sessions Info
        "Sessions ended because their outbox was full: they read slower than their rooms talk. See limits.max_outbox_bytes and rooms.slow.";
    counter CloseTooBig "session_close_too_big_total" Sessions Info
        "Sessions ended by a line or message over max_message. Raise it if such messages are wanted.";
    counter CloseUnreachable "session_close_unreachable_total" Sessions Info
        "Sessions whose peer's host or network cannot be reached any more. Many at once: look at the network.";
    counter CloseUnsupported "session_close_unsupported_total" Sessions Info
        "Sessions ended by a kind of data that the endpoint does not take. Look at the client.";
    counter CloseUpstreamFailed "session_close_upstream_failed_total" Sessions Info
        "Clients of a proxy listener for whom no upstream accepted a connection. Look at the upstreams; the log names those that are left out.";
    counter CloseUpstreamReset "session_close_upstream_reset_total" Sessions Info
        "Proxied sessions whose upstream reset its connection. Look at the upstream.";
    counter CloseUpstreamTimeout "session_close_upstream_timeout_total" Sessions Info
        "Proxied sessions whose upstream did not answer within connect_timeout or took nothing for stall_timeout. Look at the upstream and the network.";
    counter CloseUpgraded "session_close_upgraded_total" Sessions Info
        "HTTP connections that became WebSocket sessions. Nothing to do.";
    counter CloseVanished "session_close_vanished_total" Sessions Info
        "Sessions whose peer's host fell silent without a word: a cable, a NAT that forgot, a crash. Found out by keepalives and unanswered writes.";
    counter CloseWriteTimeout "session_close_write_timeout_total" Sessions Info
        "Sessions that took nothing off their socket for write_timeout. Look at the peer's network.";
    counter ConnectionsAccepted "listener_connections_accepted_total" Connections Info
        "TCP connections accepted by any listener.";
    counter ConnectionsRefused "listener_connections_refused_total" Connections Info
        "Connections closed at once because max_connections was reached. Any rise: raise it together with the limit on open files, or add a gateway.";
    counter ConnectionsRefusedListener "listener_connections_refused_listener_total" Connections Info
        "Connections closed at once because their listener's max_connections was reached. Raise it, or look at who connects.";
    counter ConnectionsRefusedAddress "listener_connections_refused_address_total" Connections Info
        "Connections closed at once because their address had max_per_address open. One client: a leak or a loop of its; many behind one address: raise it.";
    counter ConnectionsRefusedRate "listener_connections_refused_rate_total" Connections Info
        "Connections closed at once because their address connected more often than rate.connections lets it. One client: it reconnects in a loop; many behind one address: raise it, or list the address in rate.exempt.";
    counter ConnectionsWaited "listener_connections_waited_total" Times Info
        "Connections that waited for a place where when_full is wait, with those behind them in the backlog. Frequent: raise max_connections.";
    counter ConnectionsDetectedTls "listener_detected_tls_total" Connections Info
        "Connections of listeners with detect that began with TLS.";
    counter ConnectionsDetectedHttp "listener_detected_http_total" Connections Info
        "Connections of listeners with detect, or of tls listeners with it, that carried HTTP.";
    counter ProxyHeaders "listener_proxy_headers_total" Connections Info
        "Connections that began with a PROXY header.";
    counter ProxyHeaderErrors "listener_proxy_header_errors_total" Errors Info
        "Connections from a trusted proxy that did not begin with a PROXY header, and were closed. Any rise: make the proxy send one, or take its address off proxy_protocol.";
    counter AcceptErrors "listener_accept_errors_total" Errors Info
        "Failed accepts. With a log line about descriptors: raise the limit on open files. Otherwise clients that gave up early.";
    counter BytesIn "wire_bytes_in_total" Bytes Info
        "Bytes that sessions over TCP, TLS and WebSocket sent us, after TLS. HTTP bodies and UDP are not in it.";
    counter BytesOut "wire_bytes_out_total" Bytes Info
        "Bytes sent to sessions over TCP, TLS, WebSocket and event streams, before TLS.";
    counter Reads "wire_reads_total" Times Diag
        "Reads of session sockets that brought something.";
    counter Writes "wire_writes_total" Times Diag
        "Writes to session sockets. Frames sent divided by this is how well batching works.";
    counter WritesBlocked "wire_writes_blocked_total" Times Diag
        "Writes that filled a socket. Frequent: peers read slowly, or their network is slow.";
    counter FramesOut "wire_frames_out_total" Frames Info
        "Frames, lines, events and datagrams sent whole.";
    gauge OutboxBytes "outbox_bytes" Bytes Info
        "Bytes that wait in sessions' outboxes because their sockets are full. Near zero where peers keep up; many: look at who reads slowly in GET /v1/connections.";
    histogram OutboxDepthBytes "outbox_depth_bytes" Bytes Diag
        "Bytes left in a session's outbox when a write filled its socket. A p99 near max_outbox_bytes: sessions are about to be ended as slow.";
    counter ProgramsStarted "exec_programs_started_total" Times Info
        "Programs started by exec listeners.";
    counter ProgramsRefused "exec_programs_refused_total" Connections Info
        "Connections closed because max_programs ran already. Raise it, or look at who connects.";
    counter ProgramErrors "exec_program_errors_total" Errors Info
        "Programs that could not be started; the log says why. See exec.command, and the limit on processes.";
    counter ProxyConnects "proxy_connects_total" Connections Info
        "Connections to upstreams that were begun for clients.";
    counter ProxyConnectErrors "proxy_connect_errors_total" Errors Info
        "Connections to upstreams that failed at once; the next upstream is tried then. Look at the upstreams.";
    counter ProxyConnectTimeouts "proxy_connect_timeouts_total" Errors Info
        "Connections to upstreams that were not answered within connect_timeout. Look at the network.";
    counter ProxyChecksFailed "proxy_checks_failed_total" Errors Info
        "Looks at upstreams, every check_interval, that found one not accepting. Look at the upstream.";
    counter ProxyLookupErrors "proxy_lookup_errors_total" Errors Info
        "Names of upstreams that could not be looked up; what was known is used on. Look at the resolver.";
    counter ProxyUpstreamDowns "proxy_upstream_downs_total" Times Info
        "Times an upstream was left out after fall failures in a row; the log names it.";
    gauge ProxyUpstreamsDown "proxy_upstreams_down" Connections Info
        "Upstreams that are left out now. Not zero: look at them; the log names them.";
    counter ProxyBytesUp "proxy_bytes_up_total" Bytes Info
        "Bytes passed on from clients to upstreams.";
    counter ProxyBytesDown "proxy_bytes_down_total" Bytes Info
        "Bytes passed on from upstreams to clients.";
    counter ProxyBytesSpliced "proxy_bytes_spliced_total" Bytes Info
        "Of the bytes passed on, those that the kernel moved without a copy.";
    counter ProxyPipesMissing "proxy_pipes_missing_total" Times Info
        "Times a large flow was copied because its worker had no pipe for it. Frequent: many large flows at once, or no descriptors; add workers, or raise the limit on open files.";
    counter FramedMessagesIn "tcp_framed_messages_in_total" Messages Info
        "Messages received on echo and discard listeners over TCP that have a framing.";
    counter LinesIn "tcp_lines_in_total" Lines Info
        "Lines received on rooms listeners over TCP.";
    counter ChatLinesIn "tcp_chat_lines_in_total" Lines Info
        "Lines received from people in plain chat.";
    counter WebsocketHandshakes "ws_handshakes_total" Handshakes Info
        "HTTP connections that became WebSocket sessions.";
    counter WebsocketHandshakesRefused "ws_handshakes_refused_total" Handshakes Info
        "WebSocket handshakes that were refused; the answer said why. Look at the client, and at gateway.origins.";
    counter WebsocketMessagesIn "ws_messages_in_total" Messages Info
        "WebSocket messages received, text and binary.";
    counter WebsocketPingsIn "ws_pings_in_total" Frames Diag
        "Pings received, each answered by a pong.";
    counter WebsocketPingsOut "ws_pings_out_total" Frames Diag
        "Pings sent to silent peers.";
    counter WebsocketPongsIn "ws_pongs_in_total" Frames Diag
        "Pongs received.";
    counter WebsocketViolations "ws_violations_total" Errors Info
        "Frames that broke RFC 6455; each ended its session. Look at the client.";
    counter WebsocketDeflateAgreed "ws_deflate_agreed_total" Handshakes Info
        "WebSocket handshakes that agreed to permessage-deflate.";
    counter WebsocketCompressed "ws_compressed_total" Messages Info
        "Messages compressed, each once for all who agreed to the same window. About as many as messages sent to rooms, or fewer; far more: answers are large.";
    counter WebsocketCompressedBytesIn "ws_compressed_bytes_in_total" Bytes Info
        "Bytes of messages before they were compressed.";
    counter WebsocketCompressedBytesOut "ws_compressed_bytes_out_total" Bytes Info
        "The same after it. Near ws_compressed_bytes_in_total: what is sent does not compress; set websocket.compression to false.";
    counter UdpDatagramsIn "udp_datagrams_in_total" Datagrams Info
        "Datagrams received.";
    counter UdpDatagramsOut "udp_datagrams_out_total" Datagrams Info
        "Datagrams sent.";
    counter UdpBytesIn "udp_bytes_in_total" Bytes Info
        "Bytes received in datagrams.";
    counter UdpBytesOut "udp_bytes_out_total" Bytes Info
        "Bytes sent in datagrams.";
    counter UdpDatagramsDropped "udp_datagrams_dropped_total" Datagrams Info
        "Datagrams not sent because the socket's buffer was full. Raise net.core.wmem_max.";
    counter UdpRefused "udp_datagrams_refused_total" Datagrams Info
        "Datagrams ignored: empty, or from a new address while max_udp_sessions was reached, the gateway drained, or a proxy had no place or no upstream for it.";
    counter UdpPortZero "udp_datagrams_port_zero_total" Datagrams Info
        "Datagrams from source port 0, which nobody can answer: forged. Ignored.";
    counter UdpServicesRefused "udp_echo_services_refused_total" Datagrams Info
        "Datagrams to an echo from a port where a service listens: forged, to have two services answer each other for ever. Ignored.";
    counter UdpErrors "udp_errors_total" Errors Info
        "Errors of UDP sockets, mostly unreachable peers. Many: look at the network.";
    counter UdpUnreachable "udp_unreachable_total" Errors Info
        "ICMP errors about peers that were sent something; each ends its peer's session. Many: clients leave without waiting, or addresses are forged.";
    counter UdpRateLimited "udp_rate_limited_total" Datagrams Info
        "Datagrams ignored because their address sent more than its listener's udp.rate. One client: look at it; all: raise the rate.";
    counter UdpRepeated "udp_commands_repeated_total" Messages Info
        "Commands that came again with the same id and were answered again, not obeyed again. Many: the network loses datagrams.";
    counter UdpSegmented "udp_segmented_sends_total" Times Diag
        "Sends that the kernel cut into several datagrams to one peer (GSO).";
    counter UdpSegmentedRefused "udp_segmented_refused_total" Times Diag
        "Such sends that the kernel refused, as for a network card that cannot do it; their datagrams were sent one by one.";
    counter UdpUpstreamErrors "udp_upstream_errors_total" Errors Info
        "ICMP errors from upstreams of UDP proxies. Look at the upstreams.";
    counter UdpEvicted "udp_unproven_evicted_total" Sessions Info
        "UDP sessions that made room for newer ones before their address proved anything, and clients of a UDP proxy that had spoken once. Many: somebody forges addresses; nobody who answers a challenge is kept out by it.";
    counter UdpChallenges "udp_challenges_total" Datagrams Info
        "Joins answered with a challenge. Far more than joins: somebody forges addresses, or clients do not send the cookie back.";
    counter UdpAmplificationRefused "udp_amplification_refused_total" Datagrams Info
        "Answers not sent because an address that proved nothing would have got more than three times what it sent.";
    gauge UdpSessions "udp_sessions" Sessions Info
        "UDP peers with a lease. Near max_udp_sessions: raise it.";
    counter CommandsIn "commands_in_total" Commands Info
        "Commands of roomwire.v1 received on any wire, good and bad.";
    counter ErrorsJson "command_errors_json_total" Errors Info
        "Commands and bodies that were not valid JSON or not UTF-8. Look at the client.";
    counter ErrorsField "command_errors_field_total" Errors Info
        "Commands with a field missing or of a wrong type. Look at the client.";
    counter ErrorsType "command_errors_type_total" Errors Info
        "Commands of an unknown type. A newer client than this gateway?";
    counter ErrorsRoom "command_errors_room_total" Errors Info
        "Commands with a room name that is invalid or a pattern where none may stand.";
    counter ErrorsName "command_errors_name_total" Errors Info
        "Names that were empty, too long or had control characters.";
    counter ErrorsCookie "command_errors_cookie_total" Errors Info
        "Joins over UDP with a cookie that was wrong or too old. Many: somebody forges addresses.";
    counter ErrorsTooLarge "command_errors_too_large_total" Errors Info
        "Lines, messages, datagrams and bodies over their limit. Raise limits.max_message if such are wanted.";
    counter ErrorsRooms "command_errors_rooms_total" Errors Info
        "Joins and publishes refused because a session, or the gateway, had as many rooms as it may.";
    counter ErrorsBinary "command_errors_binary_total" Errors Info
        "Binary messages on a WebSocket that speaks JSON text. Look at the client.";
    counter ErrorsOther "command_errors_other_total" Errors Info
        "Commands refused for another reason; at log level debug each is named.";
    counter AnswersTooLarge "command_answers_too_large_total" Commands Info
        "Answers and pushes replaced by an error because no datagram, or no outbox, of the session could take them. Raise max_udp_datagram or max_outbox_bytes, or ask for less.";
    counter Joins "hub_joins_total" Times Info
        "Rooms and patterns joined.";
    counter Leaves "hub_leaves_total" Times Info
        "Rooms and patterns left by command; sessions that end leave without it.";
    counter Publishes "hub_publishes_total" Messages Info
        "Messages that got an offset in a room.";
    counter PublishesRepeated "hub_publishes_repeated_total" Messages Info
        "Publishes whose key had been seen: answered again, delivered to nobody.";
    counter PublishEventsTooDeep "hub_publish_events_too_deep_total" Events Info
        "Events of publish left out because listeners publish in answer to each other without end. Look at the listeners of the embedding program.";
    counter PublishesCongested "hub_publishes_congested_total" Messages Info
        "Publishes refused because a worker's inbox was full. Any rise: the gateway is at its limit.";
    histogram PublishBytes "hub_publish_bytes" Bytes Info
        "Sizes of the data of messages that got an offset.";
    histogram PublishToFlushMicros "hub_publish_to_flush_us" Micros Info
        "From taking a published message to its members' sockets having been written to, once for each worker that has members. A high p99: workers are overloaded, see worker_turn_us.";
    counter HubMessages "hub_messages_fanned_out_total" Messages Info
        "Messages that workers fanned out; one message counts once for each worker that has members.";
    counter HubDeliveries "hub_deliveries_total" Deliveries Info
        "Messages put into sessions' outboxes.";
    counter OutboxDropped "hub_outbox_dropped_total" Messages Info
        "Messages dropped from full outboxes by the room's slow policy; the session gets a gap notice. A rise: members read too slowly.";
    counter ControlsDropped "hub_controls_dropped_total" Messages Info
        "Words from worker to worker not said because an inbox was full, such as errors for late replies. Any rise: the gateway is far past its limit.";
    counter PresenceDropped "hub_presence_dropped_total" Messages Info
        "Presence changes not told because an inbox was twice full. Any rise: the gateway is far past its limit.";
    counter MessagesReplayed "hub_messages_replayed_total" Messages Info
        "Messages sent again to sessions that came back.";
    counter RecoveriesFailed "hub_recoveries_failed_total" Times Info
        "Sessions that came back for messages which history no longer had. A rise: raise rooms.history.";
    gauge Rooms "hub_rooms" Rooms Info
        "Rooms that exist now: with members or with history. Near max_rooms: shorten rooms.history.age or raise the limit.";
    gauge Patterns "hub_patterns" Patterns Info
        "Patterns that sessions are subscribed to.";
    gauge HistoryMessages "hub_history_messages" Messages Info
        "Messages kept in history by all rooms.";
    gauge HistoryBytes "hub_history_bytes" Bytes Info
        "What all rooms' history takes. Too much: lower rooms.history.";
    counter RoomsExpired "hub_rooms_expired_total" Rooms Diag
        "Rooms that vanished: empty and without history.";
    counter HistoryExpired "hub_history_expired_total" Messages Diag
        "Messages that became too old for history.";
    counter RequestsAsked "hub_requests_total" Requests Info
        "Requests made to rooms.";
    counter RequestsPushed "hub_requests_pushed_total" Requests Info
        "Requests handed to members.";
    counter RequestsTimedOut "hub_requests_timed_out_total" Requests Info
        "Requests that ended by their timeout. Many: members do not reply.";
    counter RepliesIn "hub_replies_total" Requests Info
        "Replies taken.";
    counter RepliesLate "hub_replies_late_total" Requests Info
        "Replies to requests that were over.";
    counter RepliesRefused "hub_replies_refused_total" Requests Info
        "Replies refused: a second one of the same member, or more than the request may keep.";
    counter HttpRequests "http_requests_total" Requests Info
        "HTTP requests of both versions.";
    histogram HttpRequestMicros "http_request_us" Micros Info
        "From the head of an HTTP request to the head of its answer, without long polls. A high p99: routes of the embedding program are slow, or workers are overloaded.";
    counter HttpResponsesOk "http_responses_ok_total" Requests Info
        "Answers below 300.";
    counter HttpResponsesRedirect "http_responses_redirect_total" Requests Info
        "Answers from 300 to 399.";
    counter HttpResponsesClientError "http_responses_client_error_total" Requests Info
        "Answers from 400 to 499. Look at who asks for what.";
    counter HttpResponsesServerError "http_responses_server_error_total" Requests Info
        "Answers of 500 and above. Overload, or a route of the embedding program failed.";
    counter HttpBadRequests "http_bad_requests_total" Errors Info
        "Connections that did not speak HTTP as it is written. Scanners do this.";
    counter HttpTimeouts "http_timeouts_total" Errors Info
        "Requests whose head or body did not come in time.";
    counter HttpConnectionErrors "http_connection_errors_total" Errors Info
        "HTTP connections that failed otherwise, mostly clients that went away.";
    counter HttpHostsRefused "http_hosts_refused_total" Requests Info
        "Requests for names that are none of their listener's hosts, where unknown_host refuses them. Scanners do this; otherwise list the name in listener.hosts.";
    counter HttpLimitedAddress "http_requests_limited_address_total" Requests Info
        "Requests answered by 429 because their address asked more often than rate.requests lets it. One client: it loops; many behind one address: raise it, or list a proxy in trusted_proxies.";
    counter HttpLimitedToken "http_requests_limited_token_total" Requests Info
        "Requests answered by 429 because their token was used more often than rate.token_requests lets it. Look at whose it is.";
    counter RateEvicted "rate_entries_evicted_total" Times Info
        "Clients that were forgotten before they had their whole quota of the rate section again, because limits.max_rate_entries others were remembered. Many: raise it; they come from more addresses than there are places.";
    counter HttpOriginRefused "http_origin_refused_total" Requests Info
        "Requests of browsers whose Origin may not act here. List it in gateway.origins if it should.";
    counter HttpWrongType "http_wrong_content_type_total" Requests Info
        "Bodies that were not application/json where nothing else is taken.";
    counter EventStreams "http_event_streams_total" Streams Info
        "Streams of server-sent events opened.";
    counter LongPolls "http_long_polls_total" Requests Info
        "Long polls that had to wait.";
    counter WaitersRefused "http_waiters_refused_total" Requests Info
        "Event streams and long polls refused because max_waiters was reached. Raise it.";
    counter HttpPanics "http_panics_total" Errors Info
        "Requests whose handler panicked, answered by 500. Report it, or look at the routes of the embedding program; the log says where.";
    counter Compressions "http_compressions_total" Times Diag
        "Answers that were compressed.";
    counter CompressionsSkipped "http_compressions_skipped_total" Times Diag
        "Answers sent as they are because as many were being compressed as may be. Many: compress large files beforehand.";
    gauge AdminViewers "admin_viewers" Streams Info
        "Admin pages that look on. Near admin.max_viewers: raise it.";
    counter AdminViewersRefused "admin_viewers_refused_total" Streams Info
        "Admin pages that may not look on because admin.max_viewers did. Close some, or raise it.";
    counter AdminRefused "admin_requests_refused_total" Requests Info
        "Requests for what is for operators that did not show the admin token. Look at who asks, in the access log.";
    counter AccessLogDropped "http_access_log_lines_lost_total" Lines Info
        "Lines of the access log not written because its disk is too slow. Raise http.access_log_sample.";
    counter FilesWaited "http_file_waits_total" Times Diag
        "Opens and first reads of static files that had to wait for a disk. Many: more memory for the kernel's cache would help.";
    counter FilesKept "http_files_kept_total" Requests Diag
        "Requests for static files answered from memory: the file was sent less than a second before and has not changed.";
    counter FilesRefused "http_file_requests_refused_total" Requests Info
        "Requests for static files refused because max_file_queue was reached. The disk is too slow for what is asked of it.";
    counter Http2Pushes "http2_pushes_total" Requests Diag
        "Files of our pages pushed along with them over HTTP/2.";
    counter Http2EarlyHints "http2_early_hints_total" Requests Diag
        "Requests for our pages that were answered by early hints (103) first.";
    counter Http2Unserved "http2_requests_unserved_total" Requests Info
        "Requests of HTTP/2 connections that ended which were never looked at: malformed, with headers over limits.max_header, more at once than http2.max_streams, or sent while the connection was ending.";
    counter Http2Stalled "http2_streams_stalled_total" Streams Info
        "Answers given up because the peer kept the stream's window shut for limits.write_timeout.";
    counter Http2ContinuationFloods "http2_continuation_floods_total" Errors Info
        "HTTP/2 connections ended for headers in more pieces than http2.max_continuations. Somebody attacks, or try a larger limit.";
    counter Http2EmptyFloods "http2_empty_frame_floods_total" Errors Info
        "HTTP/2 connections ended for more empty frames than http2.max_empty_frames. Somebody attacks, or a client is broken.";
    counter Http2ErrorFloods "http2_stream_error_floods_total" Errors Info
        "HTTP/2 connections ended for more streams that break a rule than http2.max_stream_errors. Somebody attacks, or a client is broken.";
    counter Http2HeaderBombs "http2_header_bombs_total" Errors Info
        "HTTP/2 connections ended for headers that decode to more than four times limits.max_header. Somebody attacks.";
    counter Http2PingFloods "http2_ping_floods_total" Errors Info
        "HTTP/2 connections ended for more pings than http2.max_pings. Somebody attacks, or a client is broken.";
    counter Http2PriorityFloods "http2_priority_floods_total" Errors Info
        "HTTP/2 connections ended for more frames without a meaning than http2.max_priorities. Somebody attacks, or try a larger limit.";
    counter Http2ResetFloods "http2_reset_floods_total" Errors Info
        "HTTP/2 connections ended for more requests given up than http2.max_resets (rapid reset). Somebody attacks, or clients often change their mind: then raise it.";
    counter Http2SettingsFloods "http2_settings_floods_total" Errors Info
        "HTTP/2 connections ended for more settings than http2.max_settings. Somebody attacks, or a client is broken.";
    counter Http2SmallDataFloods "http2_small_data_floods_total" Errors Info
        "HTTP/2 connections ended for more small DATA frames unread than http2.max_small_data. Somebody attacks, or a WebSocket sends faster than it is served.";
    counter Http2WindowFloods "http2_window_update_floods_total" Errors Info
        "HTTP/2 connections ended for more window updates than http2.max_window_updates. Somebody attacks, or a client gives back its window byte by byte.";
    counter UploadsTaken "uploads_total" Files Info
        "Files taken by PUT /v1/files and POST /v1/files.";
    counter UploadBytes "upload_bytes_total" Bytes Info
        "Bytes of files that were taken.";
    counter UploadsRefused "uploads_refused_total" Requests Info
        "Uploads that were refused: too large, no room, too many at a time, a name or a condition that does not hold. See the uploads section where they should have been taken.";
    counter UploadsBroken "uploads_broken_total" Requests Info
        "Uploads whose sender went away or sent nothing for stall_timeout; nothing of them is left. Many: look at the network.";
    counter WorkTaken "work_total" Times Info
        "Pieces of work that the embedding program gave to its threads.";
    counter WorkRefused "work_refused_total" Times Info
        "Pieces of work refused because max_work_queue others waited. Frequent: more work_threads, where there are processors, or less work.";
    gauge WorkWaiting "work_waiting" Times Info
        "Pieces of work that wait for a thread. Always near max_work_queue: more comes than the threads can do.";
    counter TlsHandshakes "tls_handshakes_total" Handshakes Info
        "TLS handshakes done, full and resumed.";
    counter TlsHandshakesFull "tls_handshakes_full_total" Handshakes Info
        "Full TLS handshakes, each with a signature. Most of many handshakes: clients do not come back with their tickets.";
    counter TlsHandshakesResumed "tls_handshakes_resumed_total" Handshakes Info
        "TLS handshakes that resumed an earlier session.";
    counter TlsHandshakeErrors "tls_handshake_errors_total" Errors Info
        "TLS handshakes that failed; the tls_errors_… counters say why.";
    counter TlsErrorsAlpn "tls_errors_alpn_total" Errors Info
        "Handshakes refused because the client speaks neither h2 nor http/1.1 (ALPN). Look at the client.";
    counter TlsErrorsCertificate "tls_errors_certificate_total" Errors Info
        "Handshakes ended by clients that do not accept our certificate. A rise: it expired, its chain is incomplete, or clients use a name that it does not have; see roomwire certs check.";
    counter TlsErrorsClientCertificate "tls_errors_client_certificate_total" Errors Info
        "Clients refused for a certificate that was missing, expired, revoked or of another authority. A rise of all at once: client_crl is past its end.";
    counter TlsErrorsGone "tls_errors_gone_total" Errors Info
        "Connections that ended within their handshake. Scanners and health checks do this.";
    counter TlsErrorsIncompatible "tls_errors_incompatible_total" Errors Info
        "Handshakes without a version, cipher suite or key exchange in common: old clients, or too narrow a listener.tls.";
    counter TlsErrorsMalformed "tls_errors_malformed_total" Errors Info
        "Handshakes with bytes that are no TLS or break its rules. Scanners do this.";
    counter TlsErrorsOther "tls_errors_other_total" Errors Info
        "Handshakes that failed otherwise; at log level debug each is named.";
    counter TlsErrorsTimeout "tls_errors_timeout_total" Errors Info
        "Handshakes not done within handshake_timeout. Many: look at who connects.";
    gauge TlsCertificates "tls_certificates" Certificates Info
        "Certificates in use by https listeners; one in use by two counts twice.";
    gauge TlsCertificateDaysLeft "tls_certificate_days_left" Days Info
        "Whole days until the first of the certificates in use ends; 0 on its last day and after it, and without certificates. Below 14: renew it.";
    counter TlsReloads "tls_reloads_total" Times Info
        "Times a listener's certificates were loaded again, because files changed or SIGHUP asked for it.";
    counter TlsReloadErrors "tls_reload_errors_total" Errors Info
        "Times changed certificates could not be used and the old ones stayed. Any rise: the log says what is wrong with them.";
    counter AcmeOrders "acme_orders_total" Times Info
        "Certificates ordered from the authority of the acme section, renewals included.";
    counter AcmeOrderErrors "acme_order_errors_total" Errors Info
        "Orders that failed; the log says why. One now and then is repeated by itself; a rise while tls_certificate_days_left falls: look at the log.";
    counter TlsPlainHttp "tls_plain_http_total" Errors Info
        "Plain HTTP requests on a TLS port; each was told so. Look for an http:// link to it.";
    counter WorkerTurns "worker_turns_total" Turns Diag
        "Turns of the workers' loops.";
    gauge WorkerCpuMicros "worker_cpu_us" Micros Diag
        "CPU time that the workers' threads took since the start. Its growth in a second divided by 10,000 is their load in percent.";
    gauge MemoryBytes "process_memory_bytes" Bytes Info
        "Memory of the process that is in RAM, shared pages included. Grows without end: please report it.";
    gauge OpenDescriptors "process_descriptors" Descriptors Info
        "Descriptors that the process has open. Near process_descriptors_max: raise the limit on open files.";
    gauge MaxDescriptors "process_descriptors_max" Descriptors Info
        "Descriptors that the process may have open.";
    gauge UnlabelledBlocks "page_unlabelled" Times Info
        "Listeners and patterns of rooms.pattern that found no block of their own in the counter page and are counted together as other. Above 0: there are more than 32 of a kind.";
    counter LogLinesLeftOut "log_lines_left_out_total" Lines Info
        "Lines not logged because there were more than 100 of their kind in a second; the log says of which kind. Look at who causes them, or log less.";
    high InboxHigh "hub_inbox_high_water" Messages Diag
        "Most deliveries that ever waited in one worker's inbox. At three quarters of max_inbox publishers are paused; often there: a worker is overloaded.";
    histogram InboxDepth "hub_inbox_depth" Messages Diag
        "Deliveries that waited in a worker's inbox when it began to drain it. A high p99: the worker is overloaded.";
    histogram WorkerTurnMicros "worker_turn_us" Micros Diag
        "Length of one turn of a worker. A high p99 delays every session of the worker: look for a slow listener.";
    histogram WorkerLagMicros "worker_lag_us" Micros Diag
        "How late the workers' clock tick ran. A high p99: the machine is short of CPU, or a listener blocks.";
}
