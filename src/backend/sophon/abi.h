// The C interface of the vendor's runtime (libbmlib and libbmrt) as it is in memory: our own
// declarations, so that nothing of the vendor's is needed to build. Lower-case member names follow
// its documents.
#pragma once

#include <cstddef>
#include <cstdint>

namespace blip::backend::sophon::abi {

using Status = int;  // 0 = success
using Handle = void*;
using RuntimeHandle = void*;

struct Memory {
  struct Address {
    unsigned long device_addr;
    unsigned reserved;
    int dmabuf_fd;
  } address;
  unsigned flags;
  unsigned size;  // bytes
};
static_assert(sizeof(Memory) == 24);

enum class DataType : int {
  kF32 = 0,
  kF16 = 1,
  kI8 = 2,
  kU8 = 3,
  kI16 = 4,
  kU16 = 5,
  kI32 = 6,
  kU32 = 7,
  kBf16 = 8,
  kI4 = 9,
  kU4 = 10
};

constexpr int kMaxDims = 8;
struct Shape {
  int num_dims;
  int dims[kMaxDims];
};
static_assert(sizeof(Shape) == 36);

struct Tensor {
  DataType dtype;
  Shape shape;
  Memory device_mem;
  int store_mode;  // 0: as C arrays
};
static_assert(sizeof(Tensor) == 72);

// One set of shapes a network was compiled for.
struct Stage {
  Shape* input_shapes;
  Shape* output_shapes;
  Memory* input_mems;
  Memory* output_mems;
};

struct NetworkInfo {
  const char* name;
  bool is_dynamic;
  int input_num;
  const char* const* input_names;
  const DataType* input_dtypes;
  const float* input_scales;
  int output_num;
  const char* const* output_names;
  const DataType* output_dtypes;
  const float* output_scales;
  int stage_num;
  const Stage* stages;
  const std::size_t* max_input_bytes;
  const std::size_t* max_output_bytes;
  const int* input_zero_point;
  const int* output_zero_point;
  const int* input_loc_devices;
  const int* output_loc_devices;
  int core_num;
  std::int32_t addr_mode;
};

// Memory in mebibytes.
struct DeviceStat {
  int mem_total, mem_used, tpu_util, heap_num;
  struct {
    unsigned mem_total, mem_avail, mem_used;
  } heap_stat[4];
};

// Every function used, with its type: X(member, symbol, result, (parameters)).
//
// Copies on the chip: of the vendor's functions for it only the one with strides works on every
// chip's emulator (the others end the program on BM1688's). Its parameters: to, 1, from, 1, count,
// bytes of an element (1, 2 or 4).
#define BLIP_BMLIB_FUNCTIONS(X)                                                       \
  X(device_count, bm_dev_getcount, Status, (int*))                                    \
  X(request, bm_dev_request, Status, (Handle*, int))                                  \
  X(release, bm_dev_free, void, (Handle))                                             \
  X(chip_id, bm_get_chipid, Status, (Handle, unsigned*))                              \
  X(allocate, bm_malloc_device_byte, Status, (Handle, Memory*, unsigned))             \
  X(deallocate, bm_free_device, void, (Handle, Memory))                               \
  X(upload, bm_memcpy_s2d, Status, (Handle, Memory, void*))                           \
  X(download, bm_memcpy_d2s, Status, (Handle, void*, Memory))                         \
  X(copy, bm_memcpy_d2d_stride, Status, (Handle, Memory, int, Memory, int, int, int)) \
  X(synchronize, bm_thread_sync, Status, (Handle))                                    \
  X(board_name, bm_get_board_name, Status, (Handle, char*))                           \
  X(chip_temperature, bm_get_chip_temp, Status, (Handle, unsigned*))                  \
  X(board_power, bm_get_board_power, Status, (Handle, unsigned*))                     \
  X(driver_version, bm_get_driver_version, Status, (Handle, int*))                    \
  X(stat, bm_get_stat, Status, (Handle, DeviceStat*))

// Functions that older or other builds lack; null where that is so.
#define BLIP_BMLIB_OPTIONAL_FUNCTIONS(X)                               \
  X(core_number, bm_get_tpu_scalar_num, Status, (Handle, unsigned*))   \
  X(synchronize_core, bm_thread_sync_from_core, Status, (Handle, int)) \
  X(set_sync_timeout, bm_set_sync_timeout, Status, (Handle, int /*milliseconds*/))

#define BLIP_BMRT_FUNCTIONS(X)                                                             \
  X(create, bmrt_create, RuntimeHandle, (Handle))                                          \
  X(destroy, bmrt_destroy, void, (RuntimeHandle))                                          \
  X(load_bmodel, bmrt_load_bmodel, bool, (RuntimeHandle, const char*))                     \
  X(network_number, bmrt_get_network_number, int, (RuntimeHandle))                         \
  X(network_names, bmrt_get_network_names, void, (RuntimeHandle, const char***))           \
  X(network_info, bmrt_get_network_info, const NetworkInfo*, (RuntimeHandle, const char*)) \
  X(launch, bmrt_launch_tensor_ex, bool,                                                   \
    (RuntimeHandle, const char*, const Tensor*, int, Tensor*, int, bool, bool))

#define BLIP_BMRT_OPTIONAL_FUNCTIONS(X)                    \
  X(version, libbmrt_version, const char*, ())             \
  X(launch_on_cores, bmrt_launch_tensor_multi_cores, bool, \
    (RuntimeHandle, const char*, const Tensor*, int, Tensor*, int, bool, bool, const int*, int))

}  // namespace blip::backend::sophon::abi
