# Given to CMake as CMAKE_PROJECT_llama_cpp_INCLUDE when llama-cpp-python is compiled.
# llama-cpp-python forces llama.cpp's `common` library on through the cache; layerquant needs libllama and ggml alone,
# and `common` with its HTTP client is half of the compile. A normal variable hides the cache's (policy CMP0126).
set(LLAMA_BUILD_COMMON OFF)
