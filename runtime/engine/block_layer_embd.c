/* What a layer gets of each token beside the stream: out = proj(activation(gate x) * its part). */
#include "runtime/engine/ops.h"

void rt_block_layer_embd(rt_session *session, uint32_t layer, rt_off x) {
    const rt_layer *l = &session->model->layers[layer];
    const rt_hparams *hp = &session->model->hparams;
    const rt_layout *at = &session->layout;
    size_t n = session->batch.n, width = hp->n_embd_layer;
    rt_op_input(session, x, n, hp->n_embd);
    rt_op_multiply(session, &l->embd_gate, at->embd_gate);
    rt_op_copy(session, rt_op_at(at->layer_embd, layer * width), hp->n_layer * width, n, width,
               at->embd_slice, width);
    rt_op_activate(session, &l->embd_gate, at->embd_gate, at->embd_slice, 0, n, width);
    rt_op_input(session, at->embd_gate, n, width);
    rt_op_multiply(session, &l->embd_proj, at->out);
}
