/* PyTorch checkpoints: a ZIP archive with one pickle that names tensors and one entry per storage.
 * The pickle is read by a machine that knows tuples, dictionaries, numbers, texts and the few
 * functions that rebuild tensors; it calls nothing and refuses every other name.
 * Source: the descriptions of opcodes in CPython's pickletools. */
#include "libgguf/checked.h"
#include "libgguf/checkpoint_internal.h"
#include "libgguf/cursor.h"
#include "libgguf/map.h"
#include "libgguf/zip.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_PICKLE_BYTES ((size_t)256 << 20)
#define MAX_VALUES       ((size_t)16 << 20)

typedef enum kind {
    KIND_OTHER, /* None, lists, floats: nothing that a tensor is made of */
    KIND_MARK,
    KIND_INT,
    KIND_TEXT,
    KIND_TUPLE,
    KIND_DICT,
    KIND_GLOBAL,
    KIND_STORAGE,
    KIND_TENSOR
} kind;

typedef struct value {
    kind kind;
    int64_t number;  /* KIND_INT; of a storage its first byte in the file */
    gguf_str text;   /* KIND_TEXT, and the name of KIND_GLOBAL */
    size_t first, n; /* KIND_TUPLE: its items among `items`; KIND_TENSOR: `first` of the tensors */
    const gguf_dtype *dtype;
    uint64_t n_bytes; /* KIND_STORAGE */
    uint32_t file;    /* KIND_STORAGE */
} value;

typedef struct values {
    value *at;
    size_t n, room;
} values;

typedef struct machine {
    gguf_cursor in;
    const gguf_zip *zip;
    gguf_str prefix; /* of the archive's names, with its slash */
    values stack, memo, items;
    gguf_checkpoint_tensor *tensors; /* rebuilt, not yet named */
    size_t n_tensors, tensor_room;
    gguf_checkpoint *ckpt;
    uint32_t file;
    uint64_t *unpacked; /* [zip->n_entries] one more than the place of an unpacked entry, or 0 */
    uint32_t unpacked_file;
    uint64_t unpacked_bytes;
    gguf_error *err;
} machine;

static gguf_code refuse(machine *m, gguf_code code, const char *what) {
    return gguf_cursor_fail(&m->in, code, m->in.pos, "pickle: %s", what);
}

static gguf_code push(machine *m, values *list, value v) {
    if (list->n >= MAX_VALUES) return refuse(m, GGUF_E_LIMIT, "too many values");
    if (list->n == list->room) {
        size_t room = list->room ? list->room * 2 : 256;
        value *grown = realloc(list->at, room * sizeof *grown);
        if (!grown) return refuse(m, GGUF_E_NOMEM, "out of memory");
        list->at = grown;
        list->room = room;
    }
    list->at[list->n++] = v;
    return GGUF_OK;
}

static value pop(machine *m) {
    if (m->stack.n == 0 || m->stack.at[m->stack.n - 1].kind == KIND_MARK) {
        refuse(m, GGUF_E_FORMAT, "a value is missing");
        return (value){0};
    }
    return m->stack.at[--m->stack.n];
}

static gguf_code push_int(machine *m, int64_t number) {
    return push(m, &m->stack, (value){.kind = KIND_INT, .number = number});
}

static gguf_code push_kind(machine *m, kind k) {
    return push(m, &m->stack, (value){.kind = k});
}

/* ---- reading ------------------------------------------------------------------------------ */

static uint64_t read_uint(machine *m, int n_bytes) {
    const uint8_t *p = gguf_cursor_take(&m->in, (uint64_t)n_bytes, "a pickle");
    uint64_t number = 0;
    for (int i = n_bytes - 1; p && i >= 0; i--) number = number << 8 | p[i];
    return number;
}

static gguf_code push_text(machine *m, uint64_t n) {
    const uint8_t *p = gguf_cursor_take(&m->in, n, "a text of a pickle");
    if (!p) return m->in.code;
    return push(m, &m->stack, (value){.kind = KIND_TEXT, .text = {(const char *)p, n}});
}

static gguf_code push_long(machine *m) {
    uint64_t n = read_uint(m, 1);
    if (n > 8) return refuse(m, GGUF_E_LIMIT, "a number is too large");
    uint64_t number = read_uint(m, (int)n);
    if (n && n < 8 && number >> (8 * n - 1) & 1) number |= UINT64_MAX << 8 * n;
    return push_int(m, (int64_t)number);
}

/* "module\nname\n" as one text: module and name without the line ends. */
static gguf_code push_global(machine *m) {
    const char *start = (const char *)m->in.base + m->in.pos;
    size_t left = gguf_cursor_left(&m->in), n = 0;
    for (int lines = 0; n < left && lines < 2; n++) lines += start[n] == '\n';
    if (!gguf_cursor_take(&m->in, n, "a name of a pickle") || n < 2 || start[n - 1] != '\n')
        return refuse(m, GGUF_E_TRUNCATED, "a name is cut off");
    return push(m, &m->stack, (value){.kind = KIND_GLOBAL, .text = {start, n - 1}});
}

static bool is_global(const value *v, const char *name) {
    return v->kind == KIND_GLOBAL && gguf_str_eq(v->text, name);
}

/* ---- memo, tuples ------------------------------------------------------------------------- */

static gguf_code memo_put(machine *m, uint64_t index) {
    gguf_code code = m->stack.n ? GGUF_OK : refuse(m, GGUF_E_FORMAT, "nothing to remember");
    if (!code && index > m->in.pos) code = refuse(m, GGUF_E_LIMIT, "memo index");
    while (!code && m->memo.n <= index) code = push(m, &m->memo, (value){0});
    if (!code) m->memo.at[index] = m->stack.at[m->stack.n - 1];
    return code;
}

static gguf_code memo_get(machine *m, uint64_t index) {
    if (index >= m->memo.n) return refuse(m, GGUF_E_FORMAT, "nothing is stored there");
    return push(m, &m->stack, m->memo.at[index]);
}

static gguf_code make_tuple(machine *m, size_t n) {
    value tuple = {.kind = KIND_TUPLE, .first = m->items.n, .n = n};
    gguf_code code = n <= m->stack.n ? GGUF_OK : refuse(m, GGUF_E_FORMAT, "a tuple is too long");
    for (size_t i = 0; i < n && !code; i++)
        code = push(m, &m->items, m->stack.at[m->stack.n - n + i]);
    if (code) return code;
    m->stack.n -= n;
    return push(m, &m->stack, tuple);
}

/* Values above the last mark. */
static size_t above_mark(machine *m) {
    size_t n = 0;
    while (n < m->stack.n && m->stack.at[m->stack.n - 1 - n].kind != KIND_MARK) n++;
    if (n == m->stack.n) refuse(m, GGUF_E_FORMAT, "a mark is missing");
    return n;
}

static void drop_to_mark(machine *m, size_t n) {
    m->stack.n -= n + 1;
}

static gguf_code tuple_from_mark(machine *m) {
    size_t n = above_mark(m);
    if (m->in.code) return m->in.code;
    gguf_code code = make_tuple(m, n);
    if (code) return code;
    m->stack.at[m->stack.n - 2] = m->stack.at[m->stack.n - 1]; /* over the mark */
    m->stack.n--;
    return GGUF_OK;
}

/* Item i of a tuple; KIND_OTHER where there is none. */
static value item(const machine *m, const value *tuple, size_t i) {
    if (tuple->kind != KIND_TUPLE || i >= tuple->n) return (value){0};
    return m->items.at[tuple->first + i];
}

/* ---- storages and tensors ----------------------------------------------------------------- */

static const gguf_dtype *dtype_of_storage(const value *class) {
    static const char *const names[][2] = {
        {"torch\nFloatStorage", "F32"},     {"torch\nHalfStorage", "F16"},
        {"torch\nBFloat16Storage", "BF16"}, {"torch\nDoubleStorage", "F64"},
        {"torch\nLongStorage", "I64"},      {"torch\nIntStorage", "I32"},
        {"torch\nShortStorage", "I16"},     {"torch\nCharStorage", "I8"},
        {"torch\nByteStorage", "U8"},       {"torch\nBoolStorage", "BOOL"}};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (is_global(class, names[i][0])) return gguf_dtype_named(names[i][1]);
    return NULL;
}

/* Deflated storages are unpacked once, into a file without a name. */
static gguf_code unpack(machine *m, const gguf_zip_entry *entry, uint64_t *off) {
    gguf_code code = GGUF_OK;
    if (!m->unpacked) {
        m->unpacked = calloc(m->zip->n_entries, sizeof *m->unpacked);
        if (!m->unpacked) return refuse(m, GGUF_E_NOMEM, "out of memory");
        code = gguf_checkpoint_add_unpacked(m->ckpt, m->file, &m->unpacked_file, m->err);
    }
    uint64_t *place = &m->unpacked[entry - m->zip->entries];
    if (!code && !*place) {
        code = gguf_zip_unpack(m->zip, entry, gguf_checkpoint_file_fd(m->ckpt, m->unpacked_file),
                               m->unpacked_bytes, m->err);
        *place = m->unpacked_bytes + 1;
        m->unpacked_bytes += entry->n_bytes;
    }
    *off = *place - 1;
    if (code) m->in.code = code;
    return code;
}

/* ('storage', class, key, location, number of elements) */
static gguf_code load_storage(machine *m) {
    value id = pop(m), class = item(m, &id, 1), key = item(m, &id, 2);
    char name[512];
    const gguf_dtype *dtype = dtype_of_storage(&class);
    if (!dtype || key.kind != KIND_TEXT)
        return refuse(m, GGUF_E_UNSUPPORTED, "a storage of an unknown type");
    int n = snprintf(name, sizeof name, "%.*sdata/%.*s", (int)m->prefix.len, m->prefix.ptr,
                     (int)key.text.len, key.text.ptr);
    if (n < 0 || (size_t)n >= sizeof name) return refuse(m, GGUF_E_LIMIT, "a name is too long");
    const gguf_zip_entry *entry = gguf_zip_find(m->zip, gguf_str_of(name));
    if (!entry) return refuse(m, GGUF_E_MISSING, "a storage is not in the archive");
    uint64_t off = entry->off;
    gguf_code code = entry->method ? unpack(m, entry, &off) : GGUF_OK;
    if (code) return code;
    return push(m, &m->stack,
                (value){.kind = KIND_STORAGE,
                        .number = (int64_t)off,
                        .file = entry->method ? m->unpacked_file : m->file,
                        .dtype = dtype,
                        .n_bytes = entry->n_bytes});
}

/* Sizes, which must follow one another without gaps; false if they do not. */
static bool read_sizes(const machine *m, const value *sizes, const value *strides,
                       gguf_checkpoint_tensor *t, uint64_t *n_elems) {
    *n_elems = 1;
    if (sizes->kind != KIND_TUPLE || strides->kind != KIND_TUPLE || sizes->n != strides->n ||
        sizes->n > GGUF_CHECKPOINT_MAX_DIMS)
        return false;
    t->n_dims = (uint32_t)sizes->n;
    for (size_t i = sizes->n; i > 0; i--) {
        value size = item(m, sizes, i - 1), stride = item(m, strides, i - 1);
        if (size.kind != KIND_INT || stride.kind != KIND_INT || size.number < 0) return false;
        if (size.number > 1 && (uint64_t)stride.number != *n_elems) return false;
        t->dims[i - 1] = (uint64_t)size.number;
        if (!gguf_mul_u64(*n_elems, t->dims[i - 1], n_elems)) return false;
    }
    return true;
}

static gguf_code add_tensor(machine *m, const gguf_checkpoint_tensor *t) {
    if (m->n_tensors == m->tensor_room) {
        size_t room = m->tensor_room ? m->tensor_room * 2 : 256;
        gguf_checkpoint_tensor *grown = realloc(m->tensors, room * sizeof *grown);
        if (!grown) return refuse(m, GGUF_E_NOMEM, "out of memory");
        m->tensors = grown;
        m->tensor_room = room;
    }
    m->tensors[m->n_tensors++] = *t;
    return push(m, &m->stack, (value){.kind = KIND_TENSOR, .first = m->n_tensors - 1});
}

/* (storage, offset, sizes, strides, ...) */
static gguf_code rebuild_tensor(machine *m, const value *args) {
    value storage = item(m, args, 0), offset = item(m, args, 1), sizes = item(m, args, 2),
          strides = item(m, args, 3);
    gguf_checkpoint_tensor t = {.dtype = storage.dtype, .file = storage.file};
    uint64_t n_elems, skip;
    if (storage.kind != KIND_STORAGE || offset.kind != KIND_INT || offset.number < 0)
        return refuse(m, GGUF_E_FORMAT, "a tensor without a storage");
    if (!read_sizes(m, &sizes, &strides, &t, &n_elems))
        return refuse(m, GGUF_E_UNSUPPORTED, "a tensor whose rows do not follow one another");
    uint64_t size = storage.dtype->n_bits / 8;
    if (!gguf_mul_u64(n_elems, size, &t.n_bytes) ||
        !gguf_mul_u64((uint64_t)offset.number, size, &skip) || skip > storage.n_bytes ||
        t.n_bytes > storage.n_bytes - skip)
        return refuse(m, GGUF_E_TRUNCATED, "a tensor reaches beyond its storage");
    t.off = (uint64_t)storage.number + skip;
    return add_tensor(m, &t);
}

static gguf_code reduce(machine *m) {
    value args = pop(m), function = pop(m);
    if (m->in.code) return m->in.code;
    if (is_global(&function, "torch._utils\n_rebuild_tensor_v2")) return rebuild_tensor(m, &args);
    if (is_global(&function, "torch._utils\n_rebuild_parameter"))
        return push(m, &m->stack, item(m, &args, 0));
    if (is_global(&function, "collections\nOrderedDict")) return push_kind(m, KIND_DICT);
    return refuse(m, GGUF_E_UNSUPPORTED, "it calls a function that is not allowed");
}

/* ---- dictionaries ------------------------------------------------------------------------- */

/* A tensor gets its name where it is put into a dictionary. */
static gguf_code set_item(machine *m, const value *key, const value *v) {
    if (v->kind != KIND_TENSOR) return GGUF_OK;
    if (key->kind != KIND_TEXT) return refuse(m, GGUF_E_FORMAT, "a tensor without a name");
    gguf_checkpoint_tensor t = m->tensors[v->first];
    t.name = key->text;
    gguf_code code = gguf_checkpoint_add(m->ckpt, &t, m->err);
    if (code) m->in.code = code;
    return code;
}

static gguf_code set_items(machine *m) {
    size_t n = above_mark(m);
    if (m->in.code) return m->in.code;
    const value *at = m->stack.at + m->stack.n - n;
    gguf_code code = n % 2 ? refuse(m, GGUF_E_FORMAT, "a name without a value") : GGUF_OK;
    for (size_t i = 0; i < n && !code; i += 2) code = set_item(m, &at[i], &at[i + 1]);
    if (!code) drop_to_mark(m, n);
    return code;
}

static gguf_code set_one(machine *m) {
    value v = pop(m), key = pop(m);
    return m->in.code ? m->in.code : set_item(m, &key, &v);
}

static gguf_code drop_marked(machine *m) {
    size_t n = above_mark(m);
    if (!m->in.code) drop_to_mark(m, n);
    return m->in.code;
}

/* ---- the machine -------------------------------------------------------------------------- */

static gguf_code run_op(machine *m, int op) {
    switch (op) {
    case 0x80: /* PROTO */
        read_uint(m, 1);
        return m->in.code;
    case 0x95: /* FRAME */
        read_uint(m, 8);
        return m->in.code;
    case '(':
        return push_kind(m, KIND_MARK);
    case '}':
        return push_kind(m, KIND_DICT);
    case ']':
    case 'N':
        return push_kind(m, KIND_OTHER);
    case 'G': /* BINFLOAT */
        read_uint(m, 8);
        return push_kind(m, KIND_OTHER);
    case 0x88:
    case 0x89:
        return push_int(m, op == 0x88);
    case 'K':
        return push_int(m, (int64_t)read_uint(m, 1));
    case 'M':
        return push_int(m, (int64_t)read_uint(m, 2));
    case 'J':
        return push_int(m, (int32_t)read_uint(m, 4));
    case 0x8a: /* LONG1 */
        return push_long(m);
    case 'X': /* BINUNICODE */
        return push_text(m, read_uint(m, 4));
    case 0x8c: /* SHORT_BINUNICODE */
        return push_text(m, read_uint(m, 1));
    case 'c':
        return push_global(m);
    case 'q':
        return memo_put(m, read_uint(m, 1));
    case 'r':
        return memo_put(m, read_uint(m, 4));
    case 0x94: /* MEMOIZE */
        return memo_put(m, m->memo.n);
    case 'h':
        return memo_get(m, read_uint(m, 1));
    case 'j':
        return memo_get(m, read_uint(m, 4));
    case ')':
        return make_tuple(m, 0);
    case 't':
        return tuple_from_mark(m);
    case 0x85:
    case 0x86:
    case 0x87:
        return make_tuple(m, (size_t)op - 0x84);
    case 'Q':
        return load_storage(m);
    case 'R':
        return reduce(m);
    case 's':
        return set_one(m);
    case 'u':
        return set_items(m);
    case 'e': /* APPENDS */
        return drop_marked(m);
    case 'a': /* APPEND, BUILD: what they change holds no tensors */
    case 'b':
        pop(m);
        return m->in.code;
    default:
        return refuse(m, GGUF_E_UNSUPPORTED, "an opcode that is not allowed");
    }
}

static gguf_code run_pickle(machine *m) {
    for (;;) {
        const uint8_t *op = gguf_cursor_take(&m->in, 1, "a pickle");
        if (!op) return m->in.code;
        if (*op == '.') return GGUF_OK;
        gguf_code code = run_op(m, *op);
        if (!code) code = m->in.code;
        if (code) return code;
    }
}

static const gguf_zip_entry *find_pickle(const gguf_zip *zip, gguf_str *prefix) {
    static const char name[] = "/data.pkl";
    size_t n = sizeof name - 1;
    for (size_t i = 0; i < zip->n_entries; i++) {
        gguf_str entry = zip->entries[i].name;
        if (entry.len <= n || memcmp(entry.ptr + entry.len - n, name, n) != 0) continue;
        *prefix = (gguf_str){entry.ptr, entry.len - n + 1};
        return &zip->entries[i];
    }
    return NULL;
}

static gguf_code read_archive(gguf_checkpoint *ckpt, uint32_t file, const gguf_zip *zip,
                              gguf_error *err) {
    machine m = {.zip = zip, .ckpt = ckpt, .file = file, .err = err};
    uint8_t *pickle = NULL;
    const gguf_zip_entry *entry = find_pickle(zip, &m.prefix);
    if (!entry)
        return gguf_fail(err, GGUF_E_FORMAT, zip->path, GGUF_NO_OFFSET,
                         "no data.pkl in the archive: this is not a PyTorch checkpoint");
    gguf_code code = gguf_zip_read(zip, entry, MAX_PICKLE_BYTES, &pickle, err);
    if (!code) {
        m.in = (gguf_cursor){.base = pickle, .len = entry->n_bytes, .file = zip->path, .err = err};
        code = run_pickle(&m);
    }
    free(pickle);
    free(m.stack.at);
    free(m.memo.at);
    free(m.items.at);
    free(m.tensors);
    free(m.unpacked);
    return code;
}

gguf_code gguf_torch_read(gguf_checkpoint *ckpt, uint32_t file, gguf_error *err) {
    const gguf_memory_file *memory = gguf_checkpoint_file_memory(ckpt, file);
    const char *path = gguf_checkpoint_file_path(ckpt, file);
    gguf_map map = {0};
    gguf_zip zip = {0};
    gguf_code code = memory ? GGUF_OK : gguf_map_open(path, &map, err);
    if (!code)
        code = gguf_zip_open(memory ? memory->bytes : map.data,
                             memory ? memory->n_bytes : map.n_bytes, path, &zip, err);
    if (!code) code = read_archive(ckpt, file, &zip, err);
    gguf_zip_close(&zip);
    gguf_map_close(&map);
    return code;
}
