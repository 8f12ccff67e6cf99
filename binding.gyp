{
  # node-gyp's door: `npm install` and `node-gyp rebuild` come in here and are handed to the one CMake build.
  "targets": [
    {
      "target_name": "cream",
      "type": "none",
      "actions": [
        {
          "action_name": "cmake",
          "inputs": ["CMakeLists.txt"],
          "outputs": ["<(module_root_dir)/build/Release/cream.node"],
          "action": ["node", "scripts/build.mjs", "--addon-only"]
        }
      ]
    }
  ]
}
