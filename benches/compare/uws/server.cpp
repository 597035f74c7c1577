// The two servers of the comparison with uWebSockets: what comes on /echo goes back, what comes on
// /room goes to everybody there. uWebSockets is in no registry for C++, so whoever wants it in the
// comparison builds this file against a checkout and names the result with --uws:
//
//     git clone --recurse-submodules https://github.com/uNetworking/uWebSockets
//     make -C uWebSockets/uSockets
//     g++ -O3 -flto -std=c++20 -I uWebSockets/src -I uWebSockets/uSockets/src \
//         server.cpp uWebSockets/uSockets/uSockets.a -lz -o uws
//
// usage: uws PORT [deflate]

#include <cstdlib>
#include <cstring>
#include <string_view>

#include "App.h"

struct Session {};

using Socket = uWS::WebSocket<false, true, Session>;

int main(int argc, char **argv) {
    if (argc < 2) {
        return 2;
    }
    const int port = std::atoi(argv[1]);
    const bool deflates = argc > 2 && std::strcmp(argv[2], "deflate") == 0;
    uWS::App app;
    uWS::App::WebSocketBehavior<Session> echo;
    echo.compression = deflates ? uWS::SHARED_COMPRESSOR : uWS::DISABLED;
    echo.maxPayloadLength = 16 << 20;
    // The load generator reads as fast as it can; nobody is meant to be cut off here.
    echo.maxBackpressure = 64 << 20;
    echo.idleTimeout = 120;
    echo.message = [deflates](Socket *socket, std::string_view message, uWS::OpCode opcode) {
        socket->send(message, opcode, deflates);
    };
    auto room = uWS::App::WebSocketBehavior<Session>{};
    room.compression = echo.compression;
    room.maxPayloadLength = echo.maxPayloadLength;
    room.maxBackpressure = echo.maxBackpressure;
    room.idleTimeout = echo.idleTimeout;
    room.open = [](Socket *socket) { socket->subscribe("room"); };
    room.message = [&app, deflates](Socket *, std::string_view message, uWS::OpCode opcode) {
        app.publish("room", message, opcode, deflates);
    };
    bool listens = false;
    app.ws<Session>("/echo", std::move(echo))
        .ws<Session>("/room", std::move(room))
        .listen("127.0.0.1", port, [&listens](auto *socket) { listens = socket != nullptr; });
    if (!listens) {
        return 1;
    }
    app.run();
}
