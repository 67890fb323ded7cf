/* Filters on lists and dicts. */
#include "runtime/template/template_value.h"

#include <string.h>

/* ---- attributes by a dotted path ----------------------------------------------------------- */

static tpl_value at_path(tpl_eval *ev, tpl_value item, tpl_value path) {
    if (path.kind != TPL_STRING) return tpl_item(ev, item, path);
    gguf_str rest = path.as.str;
    while (!ev->code) {
        size_t dot = tpl_find_str(rest, gguf_str_of("."), 0);
        gguf_str part = {rest.ptr, dot == SIZE_MAX ? rest.len : dot};
        int64_t index = 0;
        bool digits = part.len > 0 && part.len < 10;
        for (size_t i = 0; i < part.len && digits; i++) {
            digits = part.ptr[i] >= '0' && part.ptr[i] <= '9';
            index = index * 10 + part.ptr[i] - '0';
        }
        item = tpl_item(ev, item, digits ? tpl_int(index) : tpl_str(part));
        if (dot == SIZE_MAX) break;
        rest = (gguf_str){rest.ptr + dot + 1, rest.len - dot - 1};
    }
    return item;
}

static tpl_value key_of(tpl_eval *ev, tpl_value item, tpl_value path, bool case_sensitive) {
    tpl_value key = tpl_given(path) ? at_path(ev, item, path) : item;
    if (!case_sensitive && key.kind == TPL_STRING)
        return tpl_str(tpl_change_case(ev, key.as.str, TPL_LOWER));
    return key;
}

/* ---- parts ------------------------------------------------------------------------------- */

static tpl_value f_length(tpl_eval *ev, tpl_value self, const tpl_args *args) {
    (void)args;
    return tpl_int((int64_t)tpl_length(ev, self));
}

static tpl_value f_first(tpl_eval *ev, tpl_value self, const tpl_args *args) {
    (void)args;
    tpl_list items = tpl_items(ev, self);
    return items.n ? items.items[0] : tpl_undefined(gguf_str_of("first of nothing"));
}

static tpl_value f_last(tpl_eval *ev, tpl_value self, const tpl_args *args) {
    (void)args;
    tpl_list items = tpl_items(ev, self);
    return items.n ? items.items[items.n - 1] : tpl_undefined(gguf_str_of("last of nothing"));
}

static tpl_value f_join(tpl_eval *ev, tpl_value self, const tpl_args *args) {
    gguf_dynbuf buf;
    gguf_str between = tpl_to_str(ev, args->argv[0]);
    tpl_list items = tpl_items(ev, self);
    tpl_buf_init(ev, &buf);
    for (size_t i = 0; i < items.n && tpl_step(ev, 1); i++) {
        tpl_value item =
            tpl_given(args->argv[1]) ? at_path(ev, items.items[i], args->argv[1]) : items.items[i];
        if (i) gguf_dynbuf_put(&buf, between.ptr, between.len);
        tpl_put_str(ev, &buf, item);
    }
    return tpl_taken(ev, &buf);
}

static tpl_value copied(tpl_eval *ev, tpl_kind kind, tpl_list items) {
    tpl_value out = tpl_list_new(ev, kind);
    for (size_t i = 0; i < items.n && !ev->code; i++) tpl_push(ev, out, items.items[i]);
    return out;
}

static tpl_value f_list(tpl_eval *ev, tpl_value self, const tpl_args *args) {
    (void)args;
    return copied(ev, TPL_LIST, tpl_items(ev, self));
}

static tpl_value f_reverse(tpl_eval *ev, tpl_value self, const tpl_args *args) {
    const tpl_value parts[3] = {tpl_none(), tpl_none(), tpl_int(-1)};
    (void)args;
    if (self.kind == TPL_STRING) return tpl_slice(ev, self, parts);
    tpl_value items = copied(ev, TPL_LIST, tpl_items(ev, self));
    return ev->code ? items : copied(ev, TPL_ITER, *tpl_slice(ev, items, parts).as.list);
}

static tpl_value f_items(tpl_eval *ev, tpl_value self, const tpl_args *args) {
    tpl_value out = tpl_list_new(ev, TPL_ITER);
    (void)args;
    if (self.kind == TPL_UNDEFINED || ev->code) return out;
    if (self.kind != TPL_DICT) tpl_raise(ev, GGUF_E_FORMAT, "items of %s", tpl_kind_name(self));
    for (size_t i = 0; !ev->code && i < self.as.dict->n; i++)
        tpl_push(ev, out,
                 tpl_pair(ev, self.as.dict->entries[i].key, self.as.dict->entries[i].value));
    return out;
}

static tpl_value f_batch(tpl_eval *ev, tpl_value self, const tpl_args *args) {
    int64_t n = tpl_int_arg(ev, args->argv[0], 1);
    tpl_list items = tpl_items(ev, self);
    tpl_value out = tpl_list_new(ev, TPL_ITER), row = tpl_none();
    for (size_t i = 0; i < items.n && !ev->code; i++) {
        if (row.kind == TPL_NONE || (int64_t)row.as.list->n == n) {
            row = tpl_list_new(ev, TPL_LIST);
            tpl_push(ev, out, row);
        }
        if (!ev->code) tpl_push(ev, row, items.items[i]);
    }
    while (tpl_given(args->argv[1]) && row.kind == TPL_LIST && !ev->code &&
           (int64_t)row.as.list->n < n)
        tpl_push(ev, row, args->argv[1]);
    return out;
}

/* So many lists of about equal length; fill_with makes up for the shorter ones. */
static tpl_value f_slice(tpl_eval *ev, tpl_value self, const tpl_args *args) {
    int64_t n = tpl_int_arg(ev, args->argv[0], 1);
    tpl_list items = tpl_items(ev, self);
    tpl_value out = tpl_list_new(ev, TPL_ITER);
    if (n == 0) tpl_raise(ev, GGUF_E_FORMAT, "division by zero");
    size_t each = n > 0 ? items.n / (size_t)n : 0, more = n > 0 ? items.n % (size_t)n : 0, at = 0;
    for (int64_t i = 0; i < n && tpl_step(ev, 1); i++) {
        bool longer = (size_t)i < more;
        tpl_value row = tpl_list_new(ev, TPL_LIST);
        for (size_t k = 0; k < each + longer && !ev->code; k++)
            tpl_push(ev, row, items.items[at++]);
        if (!longer && tpl_given(args->argv[1])) tpl_push(ev, row, args->argv[1]);
        tpl_push(ev, out, row);
    }
    return out;
}

/* ---- order ------------------------------------------------------------------------------- */

typedef struct keyed {
    tpl_value key, item;
} keyed;

/* A stable merge sort, so that failures of the comparison do no harm. */
static void sort_keyed(tpl_eval *ev, keyed *a, keyed *scratch, size_t n, bool reverse) {
    if (n < 2 || !tpl_step(ev, n)) return;
    size_t half = n / 2, i = 0, j = half, k = 0;
    sort_keyed(ev, a, scratch, half, reverse);
    sort_keyed(ev, a + half, scratch, n - half, reverse);
    while (i < half && j < n) {
        int order = tpl_order(ev, a[i].key, a[j].key);
        bool right = reverse ? order < 0 : order > 0;
        scratch[k++] = right ? a[j++] : a[i++];
    }
    while (i < half) scratch[k++] = a[i++];
    while (j < n) scratch[k++] = a[j++];
    memcpy(a, scratch, n * sizeof *a);
}

static tpl_value sorted_by(tpl_eval *ev, tpl_list items, const tpl_value *keys, bool reverse) {
    keyed *rows = tpl_new(ev, (items.n + 1) * sizeof *rows);
    keyed *scratch = tpl_new(ev, (items.n + 1) * sizeof *rows);
    tpl_value out = tpl_list_new(ev, TPL_LIST);
    if (ev->code) return out;
    for (size_t i = 0; i < items.n; i++) rows[i] = (keyed){keys[i], items.items[i]};
    sort_keyed(ev, rows, scratch, items.n, reverse);
    for (size_t i = 0; i < items.n; i++) tpl_push(ev, out, rows[i].item);
    return out;
}

static tpl_value f_sort(tpl_eval *ev, tpl_value self, const tpl_args *args) {
    tpl_list items = tpl_items(ev, self);
    tpl_value *keys = tpl_new(ev, (items.n + 1) * sizeof *keys);
    for (size_t i = 0; keys && i < items.n; i++)
        keys[i] = key_of(ev, items.items[i], args->argv[2], tpl_truth(args->argv[1]));
    return ev->code ? tpl_none() : sorted_by(ev, items, keys, tpl_truth(args->argv[0]));
}

static tpl_value f_dictsort(tpl_eval *ev, tpl_value self, const tpl_args *args) {
    tpl_value pairs = f_items(ev, self, args);
    bool by_value = args->argv[1].kind == TPL_STRING && gguf_str_eq(args->argv[1].as.str, "value");
    if (ev->code) return tpl_none();
    tpl_list items = *pairs.as.list;
    tpl_value *keys = tpl_new(ev, (items.n + 1) * sizeof *keys);
    for (size_t i = 0; keys && i < items.n; i++)
        keys[i] = key_of(ev, items.items[i], tpl_int(by_value), tpl_truth(args->argv[0]));
    return ev->code ? tpl_none() : sorted_by(ev, items, keys, tpl_truth(args->argv[2]));
}

static tpl_value f_unique(tpl_eval *ev, tpl_value self, const tpl_args *args) {
    tpl_list items = tpl_items(ev, self);
    tpl_value out = tpl_list_new(ev, TPL_ITER), seen = tpl_dict_new(ev);
    for (size_t i = 0; i < items.n && !ev->code; i++) {
        tpl_value key = key_of(ev, items.items[i], args->argv[1], tpl_truth(args->argv[0]));
        if (tpl_get(ev, seen.as.dict, key)) continue;
        tpl_put(ev, seen.as.dict, key, tpl_none());
        tpl_push(ev, out, items.items[i]);
    }
    return out;
}

static tpl_value extreme(tpl_eval *ev, tpl_value self, const tpl_args *args, int sign) {
    tpl_list items = tpl_items(ev, self);
    tpl_value best = tpl_undefined(gguf_str_of("extreme of nothing")), best_key = best;
    for (size_t i = 0; i < items.n && tpl_step(ev, 1); i++) {
        tpl_value key = key_of(ev, items.items[i], args->argv[1], tpl_truth(args->argv[0]));
        if (i && (ev->code || tpl_order(ev, key, best_key) * sign <= 0)) continue;
        best = items.items[i];
        best_key = key;
    }
    return best;
}

static tpl_value f_min(tpl_eval *ev, tpl_value self, const tpl_args *args) {
    return extreme(ev, self, args, -1);
}

static tpl_value f_max(tpl_eval *ev, tpl_value self, const tpl_args *args) {
    return extreme(ev, self, args, 1);
}

static tpl_value f_sum(tpl_eval *ev, tpl_value self, const tpl_args *args) {
    tpl_value out = args->argv[1].kind == TPL_MISSING ? tpl_int(0) : args->argv[1];
    tpl_list items = tpl_items(ev, self);
    for (size_t i = 0; i < items.n && tpl_step(ev, 1); i++)
        out = tpl_binary(ev, RT_TPL_OP_ADD, out, key_of(ev, items.items[i], args->argv[0], true));
    return out;
}

static tpl_value f_groupby(tpl_eval *ev, tpl_value self, const tpl_args *args) {
    tpl_args by = {.argv = {tpl_bool(false), args->argv[2], args->argv[0]}};
    tpl_value items = f_sort(ev, self, &by), out = tpl_list_new(ev, TPL_LIST), group = tpl_none();
    for (size_t i = 0; !ev->code && i < items.as.list->n; i++) {
        tpl_value item = items.as.list->items[i];
        tpl_value key = at_path(ev, item, args->argv[0]);
        if (key.kind == TPL_UNDEFINED && args->argv[1].kind != TPL_MISSING) key = args->argv[1];
        if (group.kind == TPL_NONE ||
            !tpl_equal(ev, out.as.list->items[out.as.list->n - 1].as.list->items[0], key)) {
            group = tpl_list_new(ev, TPL_LIST);
            tpl_push(ev, out, tpl_pair(ev, key, group));
        }
        tpl_push(ev, group, item);
    }
    return out;
}

/* ---- map and select ---------------------------------------------------------------------- */

/* The arguments behind the first n. */
static tpl_args behind(const tpl_args *args, size_t n) {
    tpl_args out = {.named = args->named};
    if (args->n > n) out.pos = args->pos + n;
    out.n = args->n > n ? args->n - n : 0;
    return out;
}

/* As in Jinja, what counts as false has no items: none too. */
static tpl_list items_if_any(tpl_eval *ev, tpl_value v) {
    return tpl_truth(v) ? tpl_items(ev, v) : (tpl_list){0};
}

static tpl_value f_map(tpl_eval *ev, tpl_value self, const tpl_args *args) {
    tpl_list items = items_if_any(ev, self);
    tpl_value out = tpl_list_new(ev, TPL_ITER);
    const tpl_value *path = args->named ? tpl_get_str(args->named, gguf_str_of("attribute")) : NULL;
    const tpl_value *otherwise = path ? tpl_get_str(args->named, gguf_str_of("default")) : NULL;
    tpl_args rest = behind(args, 1);
    if (!path && !args->n) tpl_raise(ev, GGUF_E_FORMAT, "'map' needs a filter or an attribute");
    gguf_str name = path || ev->code ? gguf_str_of("") : tpl_as_str(ev, args->pos[0], "map");
    for (size_t i = 0; i < items.n && tpl_step(ev, 1); i++) {
        tpl_value item =
            path ? at_path(ev, items.items[i], *path) : tpl_filter(ev, name, items.items[i], &rest);
        if (item.kind == TPL_UNDEFINED && otherwise) item = *otherwise;
        tpl_push(ev, out, item);
    }
    return out;
}

/* Keep the items, or those with an attribute, for which a test gives `wanted`. */
static tpl_value chosen(tpl_eval *ev, tpl_value self, const tpl_args *args, bool by_attribute,
                        bool wanted) {
    tpl_list items = items_if_any(ev, self);
    tpl_value out = tpl_list_new(ev, TPL_ITER);
    size_t skip = by_attribute;
    tpl_args rest = behind(args, skip + 1);
    if (args->n < skip) tpl_raise(ev, GGUF_E_FORMAT, "an attribute is missing");
    gguf_str test = args->n > skip ? tpl_as_str(ev, args->pos[skip], "a test") : gguf_str_of("");
    for (size_t i = 0; i < items.n && tpl_step(ev, 1); i++) {
        tpl_value v = by_attribute ? at_path(ev, items.items[i], args->pos[0]) : items.items[i];
        bool holds = args->n > skip ? tpl_test(ev, test, v, &rest) : tpl_truth(v);
        if (holds == wanted) tpl_push(ev, out, items.items[i]);
    }
    return out;
}

static tpl_value f_select(tpl_eval *ev, tpl_value self, const tpl_args *args) {
    return chosen(ev, self, args, false, true);
}

static tpl_value f_reject(tpl_eval *ev, tpl_value self, const tpl_args *args) {
    return chosen(ev, self, args, false, false);
}

static tpl_value f_selectattr(tpl_eval *ev, tpl_value self, const tpl_args *args) {
    return chosen(ev, self, args, true, true);
}

static tpl_value f_rejectattr(tpl_eval *ev, tpl_value self, const tpl_args *args) {
    return chosen(ev, self, args, true, false);
}

static tpl_value f_attr(tpl_eval *ev, tpl_value self, const tpl_args *args) {
    gguf_str name = tpl_as_str(ev, args->argv[0], "attr");
    if (ev->code || self.kind == TPL_DICT) return tpl_undefined(name);
    return tpl_attribute(ev, self, name);
}

const tpl_function tpl_list_filters[] = {
    {"length", "", 0, f_length},
    {"count", "", 0, f_length},
    {"first", "", 0, f_first},
    {"last", "", 0, f_last},
    {"join", "d,attribute", 0, f_join},
    {"list", "", 0, f_list},
    {"reverse", "", 0, f_reverse},
    {"items", "", 0, f_items},
    {"batch", "linecount,fill_with", 1, f_batch},
    {"slice", "slices,fill_with", 1, f_slice},
    {"sort", "reverse,case_sensitive,attribute", 0, f_sort},
    {"dictsort", "case_sensitive,by,reverse", 0, f_dictsort},
    {"unique", "case_sensitive,attribute", 0, f_unique},
    {"min", "case_sensitive,attribute", 0, f_min},
    {"max", "case_sensitive,attribute", 0, f_max},
    {"sum", "attribute,start", 0, f_sum},
    {"groupby", "attribute,default,case_sensitive", 1, f_groupby},
    {"map", "*", 0, f_map},
    {"select", "*", 0, f_select},
    {"reject", "*", 0, f_reject},
    {"selectattr", "*", 0, f_selectattr},
    {"rejectattr", "*", 0, f_rejectattr},
    {"attr", "name", 1, f_attr},
    {0},
};
