# Compile the kernels of runtime/engine/vk/shaders to SPIR-V. Those of matmul and embed exist once for each type of
# weights. Sets VK_SHADER_HEADERS, VK_SHADER_FILES; writes vk_shaders.h and vk_shaders.c into shaders/ of the build.
set(VK_WEIGHT_TYPES 0 1 2 3 6 7 8 10 11 12 13 14 16 17 18 19 20 21 22 23 29 30 34 35 39) # numbers in GGUF
set(folder ${CMAKE_BINARY_DIR}/shaders)
file(MAKE_DIRECTORY ${folder})
file(GLOB sources CONFIGURE_DEPENDS runtime/engine/vk/shaders/*.comp)
file(GLOB includes CONFIGURE_DEPENDS runtime/engine/vk/shaders/*.glsl)
set(VK_SHADER_HEADERS "")
set(numbers "")
set(rows "")
set(texts "")
set(kernels_matmul "")
set(kernels_embed "")

macro(vk_shader source kernel)
  set(header ${folder}/${kernel}.spv.h)
  add_custom_command(OUTPUT ${header}
    COMMAND ${GLSLANG} --quiet -V --target-env vulkan1.2 ${ARGN} --vn spv_${kernel} -o ${header} ${source}
    DEPENDS ${source} ${includes} VERBATIM)
  list(APPEND VK_SHADER_HEADERS ${header})
  string(TOUPPER ${kernel} number)
  string(APPEND numbers "    VK_${number},\n")
  string(APPEND texts "#include \"${kernel}.spv.h\"\n")
  string(APPEND rows "    {\"${kernel}\", spv_${kernel}, sizeof spv_${kernel}},\n")
endmacro()

foreach(source ${sources})
  get_filename_component(name ${source} NAME_WE)
  if(name STREQUAL matmul OR name STREQUAL embed)
    foreach(type ${VK_WEIGHT_TYPES})
      vk_shader(${source} ${name}_${type} -DTYPE=${type})
      string(TOUPPER ${name}_${type} number)
      string(APPEND kernels_${name} "    {${type}, VK_${number}},\n")
    endforeach()
  else()
    vk_shader(${source} ${name})
  endif()
endforeach()

file(CONFIGURE OUTPUT ${folder}/vk_shaders.h @ONLY CONTENT "#ifndef VK_SHADERS_H
#define VK_SHADERS_H
#include <stddef.h>
#include <stdint.h>
typedef enum vk_shader {
@numbers@    VK_N_SHADERS
} vk_shader;
typedef struct vk_shader_code {
    const char *name;
    const uint32_t *words;
    size_t n_bytes;
} vk_shader_code;
extern const vk_shader_code vk_shaders[VK_N_SHADERS];
/* The kernels of weight types; behind the last one a type of UINT32_MAX. */
typedef struct vk_typed {
    uint32_t type;
    vk_shader shader;
} vk_typed;
extern const vk_typed vk_matmul_kernels[], vk_embed_kernels[];
#endif
")
file(CONFIGURE OUTPUT ${folder}/vk_shaders.c @ONLY CONTENT "#include \"vk_shaders.h\"
@texts@const vk_shader_code vk_shaders[VK_N_SHADERS] = {
@rows@};
const vk_typed vk_matmul_kernels[] = {
@kernels_matmul@    {UINT32_MAX, 0}};
const vk_typed vk_embed_kernels[] = {
@kernels_embed@    {UINT32_MAX, 0}};
")
set(VK_SHADER_FILES ${folder}/vk_shaders.c)
set_source_files_properties(${folder}/vk_shaders.c PROPERTIES OBJECT_DEPENDS "${VK_SHADER_HEADERS}")
