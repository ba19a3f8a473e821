{
  # node-gyp rebuild --sanitize=true: AddressSanitizer and UndefinedBehaviorSanitizer; preload libasan to run it.
  "variables": { "sanitize%": "false" },
  "targets": [
    {
      "target_name": "native_core",
      "sources": [
        "native/binding.cc",
        "native/abi.cc",
        "native/fd.cc",
        "native/socket.cc",
        "native/option.cc",
        "native/message.cc",
        "native/transfer.cc",
        "native/epoll.cc",
        "native/resolve.cc",
        "native/watch.cc"
      ],
      "defines": ["NAPI_VERSION=8", "_FILE_OFFSET_BITS=64"],
      "cflags!": ["-O3", "-fno-omit-frame-pointer"],
      "cflags": ["-O2", "-Wall", "-Wextra", "-fvisibility=hidden"],
      "cflags_cc": ["-std=c++17", "-fno-exceptions", "-fno-rtti"],
      # A resolver thread may outlive the last environment that had the library loaded.
      "ldflags": ["-Wl,-z,nodelete"],
      "conditions": [
        ["sanitize!=\"false\"", {
          "cflags": ["-Werror", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=undefined", "-fno-omit-frame-pointer"],
          "ldflags": ["-fsanitize=address,undefined"]
        }]
      ]
    }
  ]
}
